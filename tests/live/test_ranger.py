"""The Ranger protocol end to end: gunicorn, RabbitMQ and real clients."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.gateway import WAIT, GatewayProcess, Publisher, Signer, receive
from tests.support.servers import RabbitMQ, Redis, wait_until

BOOK = {"asks": [["15.0", "21.7"]], "bids": [["10.95", "21.7"]], "sequence": 7}


@pytest.fixture(scope="module")
def gateway(folder: Path, broker: RabbitMQ, signer: Signer) -> Iterator[GatewayProcess]:
    environ = {"AMQP_URL": broker.url, **signer.environ, "RANGO_RBAC_ADMIN": "admin", "WEBSOCKET_MAX_STREAMS": "5"}
    process = GatewayProcess(folder, environ)
    yield process
    process.stop()


def bearer(token: str) -> dict[str, Any]:
    return {"additional_headers": {"Authorization": f"Bearer {token}"}}


def subscribed(*streams: str) -> Any:
    return {"success": {"message": "subscribed", "streams": list(streams)}}


def test_streams_of_all_kinds_on_one_connection(gateway: GatewayProcess, signer: Signer, publisher: Publisher) -> None:
    token = signer.token("IDANN", role="admin")
    path = "api/v2/ranger/private/?stream=order,global.tickers&stream=admin.eurusd.sys"
    with gateway.connect(path, **bearer(token)) as client:
        assert receive(client) == subscribed("order", "global.tickers", "admin.eurusd.sys")
        publisher.event("private.IDANN.order", {"id": 1})
        assert receive(client) == {"order": {"id": 1}}
        publisher.event("public.global.tickers", {"btcusd": 2})
        assert receive(client) == {"global.tickers": {"btcusd": 2}}
        publisher.event("admin.eurusd.sys", [3])
        assert receive(client) == {"eurusd.sys": [3]}


def test_handshakes_are_refused_with_http_errors(gateway: GatewayProcess, signer: Signer) -> None:
    expired = signer.token("IDANN", exp=1)
    for path, options in (("private", {}), ("public", bearer(expired)), ("", bearer("nonsense"))):
        with pytest.raises(InvalidStatus) as refused, gateway.connect(path, **options):
            pass
        response = refused.value.response
        assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert response.body, "the body gives no reason"
    assert expired not in gateway.log()


def test_too_many_streams_are_answered_with_an_error(gateway: GatewayProcess) -> None:
    with gateway.connect("public?stream=a.a,a.b,a.c,a.d,a.e,a.f") as client:
        assert "too many streams" in receive(client)["error"]
        assert receive(client) == subscribed()


def test_connection_without_token_and_subscription_is_closed(
    start: Callable[..., GatewayProcess],
) -> None:
    gateway = start(WEBSOCKET_AUTH_TIMEOUT="1")
    with gateway.connect("public?stream=a.b") as stays, gateway.connect("public") as goes:
        assert receive(goes) == subscribed()
        with pytest.raises(ConnectionClosed) as closed:
            goes.recv(timeout=WAIT)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4408
        stays.send("ping")
        assert receive(stays) == subscribed("a.b")
        assert stays.recv(timeout=WAIT) == "pong"


def test_client_that_subscribed_to_large_books_is_not_too_slow(
    start: Callable[..., GatewayProcess], publisher: Publisher
) -> None:
    """Together its books exceed its outbox. They are sent one by one as it reads."""
    gateway = start(WEBSOCKET_OUTBOX_BYTES="300000")
    rows = [[f"{number}.0", "1.5"] for number in range(1, 10_001)]
    names = [f"m{number}.ob" for number in range(40)]
    for name in names:
        publisher.event(f"public.{name}-snap", {"asks": rows, "bids": [], "sequence": 1})
    publisher.event("public.done.x", 1)
    wait_until(
        lambda: gateway.metric('peatio_ws_events_total{outcome="nobody"}') >= len(names) + 1, "all books received"
    )
    with gateway.connect("public?stream=" + ",".join(f"{name}-inc" for name in names), max_size=None) as client:
        for name in names:
            assert receive(client)[f"{name}-snap"]["sequence"] == 1
        assert receive(client) == subscribed(*(f"{name}-inc" for name in names))


@pytest.mark.parametrize("workers", ["2"])
def test_new_worker_gets_the_books_from_other_workers(
    start: Callable[..., GatewayProcess], publisher: Publisher, redis: Redis, workers: str
) -> None:
    """Two gateways share a broker and Redis. The second starts after the snapshot."""
    first = start(REDIS_URL=redis.url, WEB_CONCURRENCY=workers)
    publisher.event("public.shared.ob-snap", BOOK)
    with first.connect("public?stream=shared.ob-inc") as client:
        first_frames_are_the_book(client)
        second = start(REDIS_URL=redis.url, WEB_CONCURRENCY=workers)
        with second.connect("public?stream=shared.ob-inc") as other:
            first_frames_are_the_book(other)
            publisher.event("public.shared.ob-inc", {"asks": ["16.0", "1"], "sequence": 8})
            assert receive(other)["shared.ob-inc"]["sequence"] == receive_increment(client) == 8


def first_frames_are_the_book(client: Any) -> None:
    """Check the first frames, in either order: the worker may not have received the book yet."""
    frames = [receive(client), receive(client)]
    due = [{"shared.ob-snap": BOOK}, subscribed("shared.ob-inc")]
    assert sorted(map(json.dumps, frames)) == sorted(map(json.dumps, due))


def receive_increment(client: Any) -> int:
    frame = receive(client)
    while "shared.ob-inc" not in frame:
        frame = receive(client)
    return int(frame["shared.ob-inc"]["sequence"])


# ---- on-demand bindings


def bindings(broker: RabbitMQ, kind: str) -> set[str]:
    """Return the routing keys with which a worker's queue is bound."""
    rows = broker.ctl("list_bindings", "source_name", "destination_name", "routing_key", "--silent").splitlines()
    return {
        key
        for source, queue, key in (row.split("\t") for row in rows if row.count("\t") == 2)
        if source == "peatio.events.ranger" and queue.startswith(f"peatio_ws.{kind}.")
    }


def test_without_history_only_needed_streams_are_bound(
    start: Callable[..., GatewayProcess], broker: RabbitMQ, signer: Signer, publisher: Publisher
) -> None:
    gateway = start(AMQP_HISTORY="off", WEBSOCKET_BOOKS="ob", RANGO_RBAC_ADMIN="admin")
    before = bindings(broker, "private"), bindings(broker, "public")
    with gateway.connect(
        "private?stream=order,a.trades,global.x,a.ob-inc,a.y-inc", **bearer(signer.token("IDANN"))
    ) as ann:
        assert receive(ann)["success"]["message"] == "subscribed"
        assert bindings(broker, "private") - before[0] == {"private.IDANN.#"}
        assert bindings(broker, "public") - before[1] == {
            *("public.a.trades", "public.global.x", "global.x", "public.a.y-inc", "public.a.y-snap")
        }
        for key in ("private.IDANN.order", "public.a.trades", "global.x", "public.a.y-snap"):
            publisher.event(key, 1)
        publisher.event("public.a.ob-snap", BOOK)
        publisher.event("private.IDBOB.order", 1)
        frames = [receive(ann) for _ in range(5)]
        assert sorted(next(iter(frame)) for frame in frames) == [
            "a.ob-snap",
            "a.trades",
            "a.y-snap",
            "global.x",
            "order",
        ]
    wait_until(lambda: bindings(broker, "private") == before[0], "the stream is unbound", seconds=30)
    wait_until(lambda: bindings(broker, "public") == before[1], "the stream is unbound", seconds=30)


def test_needed_streams_are_bound_again_after_a_broker_loss(
    start: Callable[..., GatewayProcess], broker: RabbitMQ, signer: Signer, publisher: Publisher
) -> None:
    gateway = start(AMQP_HISTORY="off", WEBSOCKET_BOOKS="ob")
    with gateway.connect("private?stream=order,a.trades", **bearer(signer.token("IDANN"))) as ann:
        receive(ann)
        broker.ctl("close_all_connections", "test")
        wait_until(
            lambda: gateway.total("peatio_ws_broker_losses_total") >= 2, "loss of both connections to the broker"
        )
        gateway.wait_ready()
        with Publisher(broker.url) as again:
            again.event("private.IDANN.order", {"id": 1})
            again.event("public.a.trades", {"id": 2})
        assert sorted(map(str, [receive(ann), receive(ann)])) == ["{'a.trades': {'id': 2}}", "{'order': {'id': 1}}"]
