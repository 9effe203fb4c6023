"""Bindings of single streams on a real broker: a name that the broker refuses does not affect other names."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.gateway import GatewayProcess, Publisher
from tests.support.raw_client import RawClient, text
from tests.support.servers import RabbitMQ, wait_until

PASSWORD = "sesame"
TRADES = 200
QUIET = {"WEBSOCKET_PING_INTERVAL": "300", "WEBSOCKET_PING_TIMEOUT": "600"}
"""No pings between the frames that clients receive."""
REFUSED = ["secret.trades", "public.secret", "a.secret"]
PATTERNS = {"names": "^(?!.*secret)", "names and patterns": r"^(?!public\\.#|global\\.#|.*secret)"}
"""Routing keys of `peatio.events.ranger` that the user may bind: not all names, and in the second case no wildcards."""


@pytest.fixture(scope="module")
def vhosts(broker: RabbitMQ) -> Iterator[dict[str, str]]:
    """For each of `PATTERNS` a virtual host and a user with the same name, all created by one command."""
    names = {what: uuid.uuid4().hex for what in PATTERNS}
    lines = []
    for what, pattern in PATTERNS.items():
        name, by, all_of_it = f'<<"{names[what]}">>', '<<"test">>', ", ".join(['<<".*">>'] * 3)
        lines += [
            f"rabbit_vhost:add({name}, {by})",
            f'rabbit_auth_backend_internal:set_permissions(<<"guest">>, {name}, {all_of_it}, {by})',
            f"rabbit_auth_backend_internal:add_user({name}, <<{json.dumps(PASSWORD)}>>, {by})",
            f"rabbit_auth_backend_internal:set_permissions({name}, {name}, {all_of_it}, {by})",
            f'rabbit_auth_backend_internal:set_topic_permissions({name}, {name}, <<"peatio.events.ranger">>, '
            f'<<".*">>, <<"{pattern}">>, {by})',
        ]
    broker.ctl("eval", f"{', '.join(lines)}, ok.")
    yield names
    broker.ctl("eval", ", ".join(f'rabbit_vhost:delete(<<"{name}">>, <<"test">>)' for name in names.values()) + ".")


def subscribe(client: RawClient, streams: list[str]) -> Any:
    client.send(text({"event": "subscribe", "streams": streams}))
    return client.json()["success"]["streams"]


@pytest.mark.parametrize("what", PATTERNS)
def test_name_refused_by_the_broker_affects_no_other_client(
    what: str, vhosts: dict[str, str], broker: RabbitMQ, start: Callable[..., GatewayProcess]
) -> None:
    """Without this handling an honest client received 0 of 10 trades while the other client was connected."""
    where = f"127.0.0.1:{broker.port}/{vhosts[what]}"
    gateway = start(AMQP_URL=f"amqp://{vhosts[what]}:{PASSWORD}@{where}", WEBSOCKET_BOOKS="ob", **QUIET)
    losses = gateway.total("peatio_ws_broker_losses_total")

    def refused() -> float:
        return gateway.metric('peatio_ws_limits_reached_total{limit="routing_keys_refused"}')

    with (
        Publisher(f"amqp://guest:guest@{where}") as publisher,
        RawClient(gateway.port) as honest,
        RawClient(gateway.port) as other,
    ):
        for client in (honest, other):
            client.upgrade("/public")
            client.json()
        assert subscribe(honest, ["btcusd.trades"]) == ["btcusd.trades"]
        # The other client's names are bound or refused while trades are published.
        other.send(text({"event": "subscribe", "streams": [*REFUSED, "ethusd.trades"]}))
        for number in range(TRADES):
            publisher.event("public.btcusd.trades", {"number": number})
        got = [honest.json()["btcusd.trades"]["number"] for _ in range(TRADES)]
        assert got == list(range(TRADES))
        wait_until(lambda: refused() >= len(REFUSED), "the broker has refused all of them")
        asked = refused()
        publisher.event("public.btcusd.trades", {"number": TRADES})
        publisher.event("public.ethusd.trades", {"number": 0})
        assert honest.json() == {"btcusd.trades": {"number": TRADES}}
        assert "ethusd.trades" in other.json()["success"]["streams"]
        assert other.json() == {"ethusd.trades": {"number": 0}}, "the other client's permitted stream works"
        assert refused() == asked, "a refused name was tried again too soon"
        lines = [one for one in gateway.events() if "refuses routing keys" in one["event"]]
        assert len(lines) == 1, "the refusal is logged at most once a minute"
    assert gateway.total("peatio_ws_broker_losses_total") == losses
    assert not gateway.tracebacks()
