"""A Peatio connection, where what it is told and what it takes of the broker have to keep an order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent

from peatio_ws import testing
from peatio_ws.demand import Demand
from peatio_ws.events import StreamEvent
from tests.unit.samples import Channel


def in_loop(condition: Callable[[], Any]) -> None:
    """Wait for something in the loop's thread."""

    def wait() -> None:
        with gevent.Timeout(10):
            while not condition():
                gevent.sleep(0.001)

    testing._run(wait)


def test_who_is_one_too_many_takes_no_streams_from_others() -> None:
    gateway = testing.gateway(WEBSOCKET_MAX_CONNECTIONS_PER_MEMBER="1")
    gateway._intake._streams = streams = Demand("streams")  # without a broker nobody waits
    path = "/private?stream=a.b"
    with testing.serve(gateway) as server:
        token = server.token("IDANN")
        with server.connect("/public?stream=a.b") as other, server.connect(path, token=token) as ann:
            assert other.json() == ann.json() == {"success": {"message": "subscribed", "streams": ["a.b"]}}
            for _ in range(3):
                assert server.connect(path, token=token).closed()[0] == 1013
            in_loop(lambda: len(gateway._roster) == 2)
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


def test_nothing_comes_before_the_first_answer_however_long_the_broker_takes() -> None:
    gateway = testing.gateway()
    gateway._intake._streams = streams = Demand("streams")
    streams.attach(channel := Channel(), "q")
    router = gateway._intake.router

    def publish(number: int) -> None:
        router.route(StreamEvent(owner="IDANN", stream="order", body=b'{"id":%d}' % number))
        router.flush()

    with (
        testing.serve(gateway) as server,
        server.connect("/private?stream=order,a.b", token=server.token("IDANN")) as ann,
    ):
        in_loop(lambda: channel.said)
        testing._run(lambda: publish(1))
        testing._run(channel.answer)
        assert "success" in ann.json()
        testing._run(lambda: publish(2))
        assert ann.json() == {"order": {"id": 2}}
