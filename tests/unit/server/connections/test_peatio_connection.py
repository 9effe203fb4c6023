"""A Peatio connection: the order of its messages, and its bindings at the broker."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import gevent
import gevent.event
import pytest

from peatio_ws import testing
from peatio_ws.amqp import on_demand_bindings
from peatio_ws.amqp.on_demand_bindings import LINGER_SECONDS, OnDemandBindings
from peatio_ws.close_codes import Close
from peatio_ws.concurrency.yielding import TURN_SECONDS
from peatio_ws.protocol.private_events.member_event import MemberEvent
from peatio_ws.transport.websocket import IDLE_SECONDS
from tests.unit.samples import Bindings


def in_loop(condition: Callable[[], Any]) -> None:
    """Wait for a condition, in the loop's thread."""

    def wait() -> None:
        with gevent.Timeout(30):
            while not condition():
                gevent.sleep(0.001)

    testing._run(wait)


def test_a_refused_connection_releases_no_streams_of_others() -> None:
    gateway = testing.gateway(WEBSOCKET_MAX_CONNECTIONS_PER_MEMBER="1")
    gateway._ingest.interest.streams = streams = OnDemandBindings(
        "streams", ("#",), 100
    )  # without a broker connections do not wait
    path = "/private?stream=a.b"
    with testing.serve(gateway) as server:
        token = server.token("IDANN")
        with server.connect("/public?stream=a.b") as other, server.connect(path, token=token) as ann:
            assert other.json() == ann.json() == {"success": {"message": "subscribed", "streams": ["a.b"]}}
            for _ in range(3):
                assert server.connect(path, token=token).closed()[0] == 1013
            in_loop(lambda: len(gateway._registry) == 2)
            assert streams._counts == {"public.a.b": 2}
            classic = server.connect("/classic")
            assert "challenge" in classic.json()
            classic.send({"event": "subscribe", "streams": ["a.b"]})
            assert "success" in classic.json()
            assert streams._counts == {"public.a.b": 3}
            classic.send({"jwt": f"Bearer {token}"})
            assert classic.closed()[0] == 1013
            in_loop(lambda: streams._counts == {"public.a.b": 2})
        in_loop(lambda: streams._counts == {"public.a.b": 0})


def test_no_event_precedes_the_first_answer_if_the_broker_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_demand_bindings, "BIND_SECONDS", 60.0)  # the broker answers when the test says so
    gateway = testing.gateway()
    gateway._ingest.interest.streams = streams = OnDemandBindings("streams", ("#",), 100)
    streams.attach(channel := Bindings(), "q", lambda: None)
    router = gateway._ingest.router

    def publish(number: int) -> None:
        router.route(MemberEvent(owners=("IDANN",), stream="order", body=b'{"id":%d}' % number))
        router.batch.flush()

    with (
        testing.serve(gateway) as server,
        server.connect("/private?stream=order,a.b", token=server.token("IDANN")) as ann,
    ):
        in_loop(lambda: channel.requests)
        testing._run(lambda: publish(1))
        testing._run(channel.answer)
        assert "success" in ann.json()
        testing._run(lambda: publish(2))
        assert ann.json() == {"order": {"id": 2}}


def test_client_waits_for_all_its_streams_as_long_as_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a broker that does not answer. The clock stands still except for the waits."""
    now = [100.0]

    class Unanswered:
        def wait(self, seconds: float) -> None:
            now[0] += seconds

    event = SimpleNamespace(Event=Unanswered)
    monkeypatch.setattr(on_demand_bindings, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(on_demand_bindings, "gevent", SimpleNamespace(event=event, Timeout=gevent.Timeout))
    gateway = testing.gateway()

    @gateway.websocket("/handler")
    def handler(ws: Any) -> None:
        ws.subscribe("b.1", "b.2", "b.3")
        ws.send("{}")

    streams = OnDemandBindings("streams", ("#",), 100)
    streams.attach(Bindings(), "q", lambda: None)
    gateway._ingest.interest.streams = streams
    with testing.serve(gateway) as server:
        for path in ("/public?stream=a.1,a.2,a.3", "/handler"):
            before = now[0]
            with server.connect(path) as client:
                client.json()
            assert now[0] - before == on_demand_bindings.BIND_SECONDS


@pytest.mark.parametrize("path", ["/classic", "/handler"])
def test_interrupted_wait_for_the_broker_releases_all_streams(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """Such as by a time limit that a handler left behind."""

    class Interrupted:
        def wait(self, _seconds: float) -> None:
            raise gevent.Timeout

        def set(self) -> None:
            pass

    event = SimpleNamespace(Event=Interrupted)
    monkeypatch.setattr(on_demand_bindings, "gevent", SimpleNamespace(event=event, Timeout=gevent.Timeout))
    gateway = testing.gateway()
    gateway.websocket("/handler")(lambda ws: ws.subscribe("a.1", "a.2", "a.3"))
    streams = OnDemandBindings("streams", ("#",), 100)
    streams.attach(Bindings(), "q", lambda: None)
    gateway._ingest.interest.streams = streams
    with testing.serve(gateway) as server:
        client = server.connect(path)
        if path == "/classic":
            assert "challenge" in client.json()
            client.send({"event": "subscribe", "streams": ["a.1", "a.2", "a.3"]})
        assert client.closed() == (1011, "internal error")
        in_loop(lambda: not len(gateway._registry))
    assert len(streams.keys) == 3
    streams.sweep(time.monotonic() + LINGER_SECONDS)
    assert not streams.keys


def test_time_limit_that_a_handler_left_behind_closes_with_1011() -> None:
    """With 1000, the client would not come back."""
    gateway = testing.gateway()

    @gateway.on("begin")
    def begin(session: Any, _message: dict[str, Any]) -> None:
        gevent.Timeout(0.01).start()

    with testing.serve(gateway) as server:
        client = server.connect()
        assert "challenge" in client.json()
        client.send({"event": "begin"})
        assert client.closed() == (1011, "internal error")


SUBSCRIBED = {"success": {"message": "subscribed", "streams": ["a.ob-inc"]}}


def test_a_repeated_subscribe_sends_the_book_before_the_reply() -> None:
    book = {"asks": [["15.0", "1.0"]], "bids": [["14.0", "3.0"]], "sequence": 7}
    with testing.serve(testing.gateway()) as server, server.connect("/public?stream=a.ob-inc") as client:
        assert client.json() == SUBSCRIBED
        server.publisher.to_stream("a.ob-snap", book)
        assert client.json() == {"a.ob-snap": book}
        for text in (" ", "\n"):
            client.send(text)  # has no answer
        for _ in range(2):
            client.send({"event": "subscribe", "streams": ["a.ob-inc"]})
            assert [client.json(), client.json()] == [{"a.ob-snap": book}, SUBSCRIBED]
        server.publisher.to_stream("a.ob-inc", {"asks": ["15.0", "2.0"], "sequence": 8})
        assert client.json() == {"a.ob-inc": {"asks": ["15.0", "2.0"], "sequence": 8}}


def test_a_restarted_sequence_reaches_followers_and_not_new_clients() -> None:
    old = {"asks": [["15.0", "1.0"]], "bids": [], "sequence": 100}
    new = {"asks": [["16.0", "1.0"]], "bids": [], "sequence": 4}
    increments = [{"asks": ["15.0", f"{number}.0"], "sequence": number} for number in (1, 2, 3)]
    with testing.serve(testing.gateway()) as server, server.connect("/public?stream=a.ob-inc") as follower:
        assert follower.json() == SUBSCRIBED
        server.publisher.to_stream("a.ob-snap", old)
        assert follower.json() == {"a.ob-snap": old}
        for increment in increments:
            server.publisher.to_stream("a.ob-inc", increment)
        assert follower.json() == {"a.ob-inc": increments[2]}
        with server.connect("/public?stream=a.ob-inc") as late:
            assert late.json() == SUBSCRIBED
            server.publisher.to_stream("a.ob-snap", new)
            assert late.json() == follower.json() == {"a.ob-snap": new}


def test_books_of_one_subscription_share_the_turns_of_all_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """To encode and compress 200 books in one turn of the loop would hold up all other clients."""
    gateway, names = testing.gateway(), [f"m{number}.ob-inc" for number in range(20)]
    gateway.websocket("/handler")(lambda ws: (ws.subscribe(*names), ws.send("done"), ws.receive()))
    subscribe, turns = gateway._ingest.router.subscribe, list[int]()

    def slow(receiver: Any, name: str) -> None:
        turns.append(gevent.get_hub().loop.iteration)
        until = time.monotonic() + 1.1 * TURN_SECONDS
        while time.monotonic() < until:
            pass
        subscribe(receiver, name)

    monkeypatch.setattr(gateway._ingest.router, "subscribe", slow)
    with testing.serve(gateway) as server:
        client = server.connect("/public")
        client.json()
        client.send({"event": "subscribe", "streams": names})
        assert client.json()["success"]["streams"] == names
        assert len(set(turns)) == len(turns) == 20
        assert server.connect("/handler").receive() == "done"
        assert len(set(turns)) == len(turns) == 40


def test_a_private_trade_has_the_side_and_order_of_its_member() -> None:
    trades = [{"id": 7, "market": market, "kind": "ask", "ask_id": 61, "bid_id": 62} for market in ("x", "y")]
    with testing.serve(testing.gateway()) as server:
        ranger = server.connect("/private?stream=trade", token=server.token("IDANN"))
        assert "success" in ranger.json()
        with ranger, server.member("IDANN") as classic:
            for trade in trades:
                server.publisher.to_member("IDANN", "trade", trade)
                assert ranger.json() == {"trade": trade}
                got = classic.json()["trade"]
                assert (got["market_id"], got["side"], got["order_id"]) == (trade["market"], "ask", 61)
                assert got["ask"] == {"id": 61}


def test_client_that_has_authenticated_in_time_may_wait_for_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway, live = testing.gateway(WEBSOCKET_AUTH_TIMEOUT="4"), gevent.event.Event()
    monkeypatch.setattr(gateway._ingest, "wait_until_live", lambda: live.wait(30))

    def tick() -> bool:
        (connection,) = gateway._registry
        if connection.identity is not None:
            connection.tick(connection.ws.opened + 4.1)
            live.set()
        return live.is_set()

    with testing.serve(gateway) as server:
        client = server.connect()
        assert "challenge" in client.json()
        client.send({"jwt": f"Bearer {server.token('IDANN')}"})
        in_loop(tick)
        assert client.json() == {"success": {"message": "Authenticated."}}


def test_messages_are_limited_to_a_burst_and_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr("peatio_ws.server.connections.peatio_connection.time", clock)
    gateway = testing.gateway(WEBSOCKET_MESSAGE_BURST="3", WEBSOCKET_MESSAGE_RATE="2")
    with testing.serve(gateway) as server, server.connect("/ranger") as client:
        client.json()  # nothing is subscribed to yet
        for _ in range(2):
            for number in range(3):
                client.send({"event": "subscribe", "streams": [f"a.b{number}"]})
                assert "success" in client.json()
            now[0] += 1.5
        now[0] -= 1.0  # half a second later: one message
        client.send({"event": "subscribe", "streams": ["a.b"]})
        assert "success" in client.json()
        client.send({"event": "subscribe", "streams": ["a.b"]})
        assert client.closed() == (Close.POLICY, "too many messages")


def test_an_idle_connection_without_a_greenlet_works_as_before() -> None:
    gateway = testing.gateway()

    def idle() -> bool:
        """Tick as a second later. Return whether no connection has a greenlet."""
        connections = list(gateway._registry)
        for connection in connections:
            connection.tick(connection.ws.inbox.last_read + IDLE_SECONDS + 0.1)
        return all(connection.ws.inbox.reader._greenlet is None for connection in connections)

    with testing.serve(gateway) as server:
        classic = server.member("IDANN")
        ranger = server.connect("/private?stream=a.trades", token=server.token("IDANN"))
        assert ranger.json() == {"success": {"message": "subscribed", "streams": ["a.trades"]}}
        for number in range(3):
            in_loop(lambda: len(gateway._registry) == 2 and idle())
            server.publisher.to_member("IDANN", "order", {"id": number})
            assert f'"id":{number}' in str(classic.receive())
            server.publisher.to_stream("a.trades", {"trades": [number]})
            assert ranger.json() == {"a.trades": {"trades": [number]}}
            ranger.send({"event": "subscribe", "streams": [f"b{number}.trades"]})
            assert f"b{number}.trades" in ranger.json()["success"]["streams"]
        in_loop(idle)
        ranger.close()
        in_loop(lambda: len(gateway._registry) == 1 and idle())
        testing._run(lambda: next(iter(gateway._registry)).ws.outbox.close(Close.REVOKED))
        assert classic.closed()[0] == Close.REVOKED
        in_loop(lambda: not len(gateway._registry))
