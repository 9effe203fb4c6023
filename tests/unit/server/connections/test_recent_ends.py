"""The last ends and refusals of a worker, with real clients and without."""

from __future__ import annotations

import json
import os
import socket
import time
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from websockets.exceptions import InvalidStatus

from peatio_ws import ClientError, testing
from peatio_ws.cluster.commands import Answer, ClosesCommand, DisconnectCommand, encode, read_answer
from peatio_ws.errors import Refused
from peatio_ws.server.connections.recent_ends import KEPT, RecentEnds
from peatio_ws.server.gateway import Gateway
from tests.support.raw_client import RawClient, close, text

QUESTION = "0123456789abcdef"


def ends(gateway: Gateway) -> Answer:
    (answer,) = testing._run(lambda: gateway.execute(ClosesCommand(QUESTION)))
    assert (answer.place.host, answer.place.worker) == (socket.gethostname(), os.getpid())
    return answer


def test_ends_have_the_first_close_frame_of_either_side() -> None:
    gateway = testing.gateway()
    with testing.serve(gateway) as server:
        ann = server.connect("/private?stream=order", token=server.token("IDANN"))
        ann.receive()
        with RawClient(server.port) as bob:
            bob.upgrade("/public?stream=btcusd.trades")
            bob.send(close(4999, "<b>bye</b>"))
            bob.finish()
            testing._run(lambda: gateway.execute(DisconnectCommand(QUESTION, "IDANN")))
            assert ann.closed() == (4403, "disconnected by the operator")
            with RawClient(server.port) as lost:
                lost.upgrade()
        testing._run(lambda: _wait(lambda: len(gateway._registry) == 0))
        answer = ends(gateway)
    found = {one.code: one for one in answer.closes}
    assert [one.at for one in answer.closes] == sorted((one.at for one in answer.closes), reverse=True)
    assert (found[4403].by, found[4403].reason, found[4403].uid) == ("gateway", "disconnected by the operator", "IDANN")
    assert (found[4999].by, found[4999].reason, found[4999].uid) == ("client", "<b>bye</b>", None)
    assert (found[1006].by, found[1006].reason, found[1006].protocol) == ("nobody", "", "classic")
    assert all(abs(one.at - time.time()) < 60 and 0 <= one.seconds < 60 for one in answer.closes)
    assert {one.address for one in answer.closes} == {"127.0.0.1"}


def _wait(condition: Any) -> None:
    with gevent.Timeout(30):
        while not condition():
            gevent.sleep(0.01)


def test_refusals_have_reasons_and_no_token() -> None:
    gateway = testing.gateway()
    with testing.serve(gateway) as server:
        with pytest.raises(InvalidStatus):
            server.connect("/private", token="not.a.token")
        with RawClient(server.port) as client:
            client.upgrade()
            client.json()
            client.send(text({"jwt": "Bearer no.such.token"}))
            assert "error" in client.json()
        answer = ends(gateway)
    message, request = answer.refusals
    assert (request.status, message.status) == (401, None)
    assert request.reason, "the handshake has no reason of its own: that of the token says more"
    assert request.reason == message.reason
    assert "token" not in request.connection
    assert not [one for one in answer.refusals if "such" in repr(one) or "not.a" in repr(one)]


def test_reasons_with_a_text_of_a_client_can_be_reported() -> None:
    gateway = testing.gateway()

    def identify(environ: dict[str, Any]) -> str:
        raise Refused("403 Forbidden", f"no member {json.loads(environ['HTTP_COOKIE'])}")

    @gateway.websocket("/room", identify=identify)
    def room(_: Any) -> None: ...

    @gateway.websocket("/room/in")
    def enter(ws: Any) -> None:
        raise ClientError(f"no room {json.loads(ws.receive())}")

    half = json.dumps("\ud83d")
    with testing.serve(gateway) as server:
        with pytest.raises(InvalidStatus) as refused:
            server.connect("/room", cookie=half)
        assert refused.value.response.status_code == 403
        client = server.connect("/room/in")
        client.send(half)
        assert client.closed() == (1008, "no room ?")
        testing._run(lambda: _wait(lambda: len(gateway._registry) == 0))
        answer = read_answer(encode(ends(gateway)))
    assert answer is not None
    assert [one.reason for one in (*answer.closes, *answer.refusals)] == ["no room ?", "no member ?"]


def test_ends_and_refusals_are_bounded_and_kinds_do_not_displace_each_other() -> None:
    recent = RecentEnds()
    for number in range(3 * KEPT):
        recent.add_refused_handshake(f"c{number}", "203.0.113.7", 503, "Full.")
    assert [one.connection for one in recent.refusals] == [
        f"c{number}" for number in range(3 * KEPT - 1, 2 * KEPT - 1, -1)
    ]
    recent.add_close(_ended("gateway", "c0"))
    for number in range(2 * KEPT):
        recent.add_close(_ended("client" if number % 2 else "nobody", f"c{number}"))
    assert len(recent.closes) == KEPT + 1
    assert [one.connection for one in recent.closes if one.by == "gateway"] == ["c0"]


def test_handshake_without_a_connection_is_an_entry_of_its_own() -> None:
    recent = RecentEnds()
    recent.add_refused_token("c1", "203.0.113.7", "expired")
    recent.add_refused_handshake("c1", "203.0.113.7", 401, "The token does not verify.")
    recent.add_refused_handshake("", "203.0.113.7", 501, "This server cannot upgrade.")
    recent.add_refused_handshake("", "203.0.113.7", 501, "This server cannot upgrade.")
    assert [(one.status, one.reason) for one in recent.refusals] == [
        (501, "This server cannot upgrade."),
        (501, "This server cannot upgrade."),
        (401, "expired"),
    ]


def _ended(by: str, name: str) -> Any:
    ending = SimpleNamespace(code=4413, reason="", by=by)
    ws = SimpleNamespace(id=name, opened=time.monotonic(), ending=ending)
    return SimpleNamespace(address="203.0.113.7", ws=ws, status=SimpleNamespace(protocol="classic", uid=None))
