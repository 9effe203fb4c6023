"""The processes of an OpenDAX, with this gateway in the place of Rango or Ranger, and nothing else replaced.

Envoy is real and has OpenDAX's routes. RabbitMQ and Redis are real and look and act like those versions that OpenDAX
starts. Barong is played. All have the names and ports of OpenDAX's services.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from peatio_ws.amqp.source import Refusal
from tests.support import documents, opendax
from tests.support.gateway import ROOT, Publisher, Signer
from tests.support.network import Network
from tests.support.old_broker import OldBroker
from tests.support.old_redis import OldRedis
from tests.support.opendax import ENVOY, PASSED, SERVICES, Gateway, Rango
from tests.support.played_barong import PlayedBarong, barong
from tests.support.raw_client import Answer, RawClient
from tests.support.servers import RabbitMQ, Redis, wait_until

PUBLIC, PRIVATE = "/api/v2/ranger/public/?stream=", "/api/v2/ranger/private/?stream="
AGENT = "a-browser/1.0"


class Exchange(NamedTuple):
    network: Network
    old: OldBroker
    barong: PlayedBarong
    publisher: Publisher


@pytest.fixture(scope="module")
def exchange(folder: Path, broker: RabbitMQ, redis: Redis, signer: Signer) -> Iterator[Exchange]:
    place = folder / "opendax"
    place.mkdir()
    with contextlib.ExitStack() as stack:
        network = Network(place, *SERVICES)
        stack.callback(network.close)
        publisher = stack.enter_context(Publisher(broker.url))
        with network.inside():
            listeners = [socket.create_server(("127.0.0.1", SERVICES[name])) for name in ("rabbitmq", "redis")]
        old = stack.enter_context(OldBroker(broker.port, opendax.RABBITMQ, listeners[0]))
        stack.enter_context(OldRedis(redis.port, opendax.REDIS, listeners[1]))
        stack.enter_context(network.inside())
        played, _ = stack.enter_context(barong(signer.token, port=SERVICES["barong"], passed=PASSED))
        stack.callback(Gateway(place / "envoy", network).kill)
        yield Exchange(network, old, played, publisher)


def documented() -> dict[str, str]:
    """Return the variables that the page on migrating adds."""
    pages = documents.blocks(ROOT / "docs" / "migrating.md")
    (service,) = [yaml.safe_load(block.text)["rango"] for block in pages if block.text.startswith("rango:")]
    return dict(service["environment"])


@pytest.fixture(scope="module", params=["2.3 to 2.6", "3.0", "as documented"])
def rango(exchange: Exchange, folder: Path, signer: Signer, request: pytest.FixtureRequest) -> Iterator[Rango]:
    given = opendax.variables_of_3(signer) if request.param == "3.0" else opendax.variables(signer)
    if request.param == "as documented":
        given |= documented()
    process = Rango(folder / "opendax", exchange.network, given)
    yield process
    process.stop()


def upgraded(path: str, **headers: str) -> tuple[RawClient, Answer]:
    """Connect through Envoy. Repeats what a busy machine may cause: Envoy waits a second for Barong."""
    answers: list[tuple[RawClient, Answer]] = []

    def answered() -> bool:
        client = RawClient(ENVOY)
        answers.append(
            (
                client,
                client.request({name.replace("_", "-"): headers[name] for name in headers}, f"GET {path} HTTP/1.1"),
            )
        )
        return answers[-1][1].status not in (403, 503, 504)

    wait_until(answered, f"an answer to {path}")
    return answers[-1]


def subscribed(*streams: str) -> dict[str, Any]:
    return {"success": {"message": "subscribed", "streams": list(streams)}}


def test_anonymous_client_receives_public_streams(rango: Rango, exchange: Exchange) -> None:
    client, answer = upgraded(f"{PUBLIC}global.tickers&stream=btcusd.trades")
    with client:
        assert answer.status == 101
        assert client.json() == subscribed("global.tickers", "btcusd.trades")
        exchange.publisher.event("public.btcusd.trades", {"trades": [{"tid": 1}]})
        assert client.json() == {"btcusd.trades": {"trades": [{"tid": 1}]}}
        exchange.publisher.event("public.global.tickers", {"btcusd": {"last": "9120.50"}})
        assert client.json() == {"global.tickers": {"btcusd": {"last": "9120.50"}}}


def test_member_with_a_cookie_receives_its_own_events(rango: Rango, exchange: Exchange) -> None:
    cookie = exchange.barong.log_in("IDANN", AGENT)
    client, answer = upgraded(f"{PRIVATE}order&stream=trade&stream=btcusd.trades", Cookie=cookie, User_Agent=AGENT)
    with client:
        assert answer.status == 101
        assert client.json() == subscribed("order", "trade", "btcusd.trades")
        exchange.publisher.event("private.IDBOB.order", {"id": 1})
        exchange.publisher.event("private.IDANN.order", {"id": 2, "price": "0.10"})
        assert client.json() == {"order": {"id": 2, "price": "0.10"}}
        exchange.publisher.event("private.IDANN.trade", {"id": 3, "market": "btcusd"})
        assert client.json() == {"trade": {"id": 3, "market": "btcusd"}}
        exchange.publisher.event("public.btcusd.trades", {"trades": []})
        assert client.json() == {"btcusd.trades": {"trades": []}}


def test_client_without_a_session_gets_no_private_stream(rango: Rango, exchange: Exchange) -> None:
    before = rango.total("peatio_ws_refused_handshakes_total")
    for cookie in ({}, {"Cookie": "_barong_session=0"}):
        client, answer = upgraded(f"{PRIVATE}order", **cookie)
        client.drop()
        assert answer.status == 401
    assert rango.total("peatio_ws_refused_handshakes_total") == before, "Barong refused them, not the gateway"
    client, answer = upgraded(f"{PUBLIC}order&stream=btcusd.trades")
    with client:
        assert client.json() == subscribed("btcusd.trades")


def test_the_old_broker_and_redis_are_used_as_they_are(rango: Rango, exchange: Exchange) -> None:
    assert rango.operators("/readyz")[0] == 200
    assert "peatio_ws.history" not in [name for name, _ in exchange.old.declared]
    remedies = {line["remedy"] for line in rango.events() if line["event"].startswith("cannot read the history stream")}
    assert remedies == {Refusal.TOO_OLD.value}
    assert not rango.tracebacks()
