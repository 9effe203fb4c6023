"""The streams of a handler's connection: who may have them, and what they need from the broker while it is slow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import pytest

from peatio_ws import ClientError, Gateway, testing
from peatio_ws.amqp.on_demand_bindings import OnDemandBindings
from tests.support.servers import wait_until
from tests.unit.samples import Bindings


@pytest.fixture
def gateway() -> Gateway:
    return testing.gateway(RANGO_RBAC_ADMIN="admin", WEBSOCKET_MAX_STREAMS="5")


def test_only_permitted_streams_can_be_subscribed_to(gateway: Gateway) -> None:
    @gateway.websocket("/streams")
    def streams(ws: Any) -> None:
        for names in ws:
            try:
                ws.subscribe(*names.split())
            except ClientError as error:
                ws.send(str(error))
            else:
                ws.send("subscribed")

    with testing.serve(gateway) as server:
        anonymous = server.connect("/streams")
        admin = server.connect("/streams", token=server.token(role="admin"))
        for names, to_anonymous, to_admin in [
            ("order", "cannot subscribe to order: not authenticated", "subscribed"),
            ("admin.a.b", "cannot subscribe to admin.a.b", "subscribed"),
            ("a.b admin.a.b", "cannot subscribe to admin.a.b", "subscribed"),
            ("a.b.c.d", "cannot subscribe to a.b.c.d", "cannot subscribe to a.b.c.d"),
            ("a.1 a.2 a.3 a.4 a.5 a.6", *["too many streams: a connection has 5 at most"] * 2),
        ]:
            for client, answer in (anonymous, to_anonymous), (admin, to_admin):
                client.send(names)
                assert client.receive() == answer
        server.publisher.to_stream("a.b", 1)
        assert admin.receive() == '{"a.b":1}'
        anonymous.send("c.d")
        assert anonymous.receive() == "subscribed", "a stream of a refused list was subscribed to"


def test_unsubscribing_ends_a_stream(gateway: Gateway) -> None:
    @gateway.websocket("/")
    def handler(ws: Any) -> None:
        ws.subscribe("a.b", "order")
        ws.subscribe("a.b")
        ws.send("there")
        ws.receive()
        ws.unsubscribe("a.b", "never.had")
        ws.send("gone")
        ws.receive()

    with testing.serve(gateway) as server:
        ann = server.connect("/", token=server.token("IDANN"))
        assert ann.receive() == "there"
        server.publisher.to_stream("a.b", 1)
        assert ann.receive() == '{"a.b":1}'
        ann.send("")
        assert ann.receive() == "gone"
        server.publisher.to_stream("a.b", 2)
        server.publisher.to_member("IDANN", "order", {"id": 3})
        assert ann.json()["order"]["id"] == 3
    assert not len(gateway._context.router), "the stream still has a subscriber"


# ---- subscribing while something else happens


@pytest.fixture
def answer(gateway: Gateway) -> Callable[[], None]:
    """Return a function that makes the broker answer. Until then requests to the broker wait."""
    ingest, channels = gateway._ingest, (Bindings(), Bindings())
    ingest.interest.members, ingest.interest.streams = (
        OnDemandBindings("members", ("private.#",), 100),
        OnDemandBindings("streams", ("#",), 100),
    )
    ingest.interest.members.attach(channels[0], "q", lambda: None)
    ingest.interest.streams.attach(channels[1], "q", lambda: None)

    def answer() -> None:
        for channel in channels:
            channel.answer()

    return answer


def needed(gateway: Gateway) -> dict[str, int]:
    """Return the number of connections that need each key."""
    members, streams = gateway._ingest.interest.members, gateway._ingest.interest.streams
    assert members is not None
    assert streams is not None
    return {**members._counts, **streams._counts}


@pytest.mark.usefixtures("answer")
def test_an_interrupted_subscribe_may_be_repeated(gateway: Gateway) -> None:
    ingest = gateway._ingest
    caught_up = ingest.replays.caught_up
    members, streams = ingest.interest.members, ingest.interest.streams
    assert members is not None
    assert streams is not None

    @gateway.websocket("/")
    def handler(ws: Any) -> None:
        caught_up.clear()  # the broker is unreachable
        with gevent.Timeout(0.01, False):
            ws.subscribe("order")
        caught_up.set()
        for _ in range(2):  # it is reachable but does not answer, neither for the member nor for the stream
            with gevent.Timeout(0.01, False):
                ws.subscribe("order", "a.b")
            members.detach()  # from now on requests do not wait for the broker
        streams.detach()
        ws.subscribe("order", "a.b")
        ws.send("there")
        ws.receive()

    with testing.serve(gateway) as server:
        ann = server.connect("/", token=server.token("IDANN"))
        assert ann.receive() == "there"
        server.publisher.to_member("IDANN", "order", {"id": 1})
        assert ann.json()["order"]["id"] == 1
        server.publisher.to_stream("a.b", 2)
        assert ann.receive() == '{"a.b":2}'
        assert max(needed(gateway).values()) == 1
        ann.send("")
        assert ann.closed() == (1000, "")
    assert set(needed(gateway).values()) == {0}
    assert not len(gateway._context.router)


@pytest.mark.usefixtures("answer")
def test_a_handler_that_stops_subscribing_leaves_nothing_behind(gateway: Gateway) -> None:
    @gateway.websocket("/")
    def handler(ws: Any) -> None:
        gateway._ingest.replays.caught_up.clear()
        with gevent.Timeout(0.01):
            ws.subscribe("order")

    with testing.serve(gateway) as server:
        assert server.connect("/", token=server.token("IDANN")).closed() == (1011, "internal error")
    assert set(needed(gateway).values()) <= {0}


@pytest.mark.parametrize("stream", ["order", "a.b"])
def test_ended_handler_subscribes_to_nothing(gateway: Gateway, answer: Callable[[], None], stream: str) -> None:
    children: list[Any] = []

    @gateway.websocket("/")
    def handler(ws: Any) -> None:
        children.append(gevent.spawn(ws.subscribe, stream))
        gevent.idle()  # waits for the broker

    def unblock() -> None:
        while not children[0].ready():
            answer()
            gevent.idle()
        children[0].get()

    with testing.serve(gateway) as server:
        assert server.connect("/", token=server.token("IDANN")).closed() == (1000, "")
        assert set(needed(gateway).values()) == {1}
        testing._run(unblock)
        assert set(needed(gateway).values()) == {0}
    assert not len(gateway._context.router)


def test_many_books_are_sent_as_the_client_reads_them() -> None:
    gateway = testing.gateway(WEBSOCKET_OUTBOX_BYTES="300000")
    rows = [[f"{number}.0", "1.5"] for number in range(1, 10_001)]  # 160 KB; 40 books exceed the kernel's buffers
    names = [f"m{number}.ob" for number in range(40)]

    @gateway.websocket("/")
    def handler(ws: Any) -> None:
        ws.subscribe(*(f"{name}-inc" for name in names))
        ws.send("all of them")

    with testing.serve(gateway) as server:
        for name in names:
            server.publisher.to_stream(f"{name}-snap", {"asks": rows, "bids": [], "sequence": 1})
        wait_until(
            lambda: gateway._context.router.channels.states().total() == len(names), "all books have been received"
        )
        ann = server.connect("/")
        for name in names:
            assert ann.json()[f"{name}-snap"]["sequence"] == 1
        assert ann.receive() == "all of them"


def test_two_greenlets_subscribe_to_the_same_streams_once(gateway: Gateway, answer: Callable[[], None]) -> None:
    @gateway.websocket("/")
    def handler(ws: Any) -> None:
        both = [gevent.spawn(ws.subscribe, "order", "a.b") for _ in range(2)]
        while not all(one.ready() for one in both):
            gevent.idle()
            answer()
        ws.send("there")
        ws.receive()

    with testing.serve(gateway) as server:
        ann = server.connect("/", token=server.token("IDANN"))
        assert ann.receive() == "there"
        assert set(needed(gateway).values()) == {1}
        for number in range(2):
            server.publisher.to_member("IDANN", "order", {"id": number})
            assert ann.json()["order"]["id"] == number
    assert set(needed(gateway).values()) == {0}
