"""How a broker is shown in the log, and how Peatio's exchanges are declared."""

from __future__ import annotations

import pytest

from peatio_ws.amqp.connection import describe_error, exchange, is_embedded, open_connection, shown_url
from peatio_ws.config.urls import EMBEDDED_BROKER
from peatio_ws.protocol.exchanges import EXCHANGES, TRADE


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://user:secret@host:5672/vhost", "host:5672/vhost"),
        ("amqps://user:se@cret@host/?cacertfile=/secret", "host/"),
        (EMBEDDED_BROKER, EMBEDDED_BROKER),
    ],
)
def test_broker_is_shown_without_its_password(url: str, shown: str) -> None:
    assert shown_url(url) == shown


def test_error_without_text_is_shown_by_its_type() -> None:
    assert (describe_error(TimeoutError()), describe_error(TimeoutError("no answer"))) == ("TimeoutError", "no answer")


@pytest.mark.parametrize("durable", [False, True])
def test_exchanges_are_declared_as_peatio_does(durable: bool) -> None:
    for name, kind in EXCHANGES.items():
        found = exchange(name, durable)
        assert (found.name, found.type, found.durable, found.auto_delete) == (name, kind, durable, False)


def test_the_in_process_broker_has_no_headers_exchange() -> None:
    assert exchange(TRADE, False, embedded=True).type == "fanout"
    assert is_embedded(open_connection(EMBEDDED_BROKER))
    assert not is_embedded(open_connection("amqp://localhost"))
