"""An operator's commands and connections of handlers, by token and by `identify`."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from peatio_ws import Gateway, require_authenticated, testing
from peatio_ws.auth.identity import Identity
from peatio_ws.auth.revocations import Revocation
from peatio_ws.cluster.commands import (
    Answer,
    CancelCommand,
    CloseCommand,
    Command,
    DisconnectCommand,
    GatewaysCommand,
    WhoCommand,
    WorkerId,
)
from peatio_ws.server import commands
from peatio_ws.server.commands import CommandExecutor
from peatio_ws.version import VERSION
from tests.support.raw_client import CLOSE, TEXT, Frame, RawClient, close, text

DISCONNECTED = (4403, "disconnected by the operator")
QUESTION = "0123456789abcdef"
PLACE = WorkerId(socket.gethostname(), "here:8080", os.getpid())


@pytest.fixture
def orders() -> list[str]:
    """Orders that the handler has placed."""
    return []


@pytest.fixture
def gateway(orders: list[str]) -> Gateway:
    made = testing.gateway()

    @made.websocket("/trade", identify=lambda environ: environ.get("HTTP_COOKIE"))
    def trade(ws: Any) -> None:
        require_authenticated(ws)
        ws.send(ws.member.uid)
        for order in ws:
            orders.append(order)
            ws.send("placed")

    return made


@pytest.fixture
def execute(gateway: Gateway) -> Callable[[Command], list[Answer]]:
    """Execute an operator's command."""
    executor = CommandExecutor(PLACE, gateway._registry, gateway._shared.revocations)
    return lambda command: testing._run(lambda: list(executor.execute(command)))


def connect(server: testing.Server, **who: str) -> testing.Client:
    client = server.connect("/trade", **who)
    assert client.receive() in ("IDANN", "IDBOB")
    return client


def is_served(client: testing.Client) -> bool:
    client.send("an order")
    return client.receive() == "placed"


def in_an_hour() -> float:
    return time.time() + 3600


def test_revoked_token_closes_only_its_own_connections(
    gateway: Gateway, execute: Callable[[Command], list[Answer]]
) -> None:
    with testing.serve(gateway) as server:
        stolen, good = server.token("IDANN", jti="stolen"), server.token("IDANN", jti="good")
        gone = [connect(server, token=stolen) for _ in range(2)]
        stay = connect(server, token=good), connect(server, cookie="IDANN"), connect(server, cookie="IDBOB")
        revoked = Revocation("IDANN", in_an_hour(), "stolen")
        assert execute(DisconnectCommand(QUESTION, "IDANN", "stolen", revoked)) == [Answer(PLACE, 2)]
        assert [client.closed() for client in gone] == [DISCONNECTED, DISCONNECTED]
        assert all(is_served(client) for client in stay)
        with pytest.raises(InvalidStatus) as refused:
            server.connect("/trade", token=stolen)
        assert refused.value.response.status_code == 401
        assert is_served(connect(server, token=good))


def test_disconnect_closes_connections_by_token_and_by_cookie(
    gateway: Gateway, execute: Callable[[Command], list[Answer]]
) -> None:
    with testing.serve(gateway) as server:
        token = server.token("IDANN")
        gone = connect(server, token=token), connect(server, cookie="IDANN")
        bob = connect(server, token=server.token("IDBOB")), connect(server, cookie="IDBOB")
        revoked = Revocation("IDANN", in_an_hour(), issued=time.time())
        assert execute(DisconnectCommand(QUESTION, "IDANN", revoked=revoked)) == [Answer(PLACE, 2)]
        assert [client.closed() for client in gone] == [DISCONNECTED, DISCONNECTED]
        assert all(is_served(client) for client in bob)
        with pytest.raises(InvalidStatus):
            server.connect("/trade", token=token)
        assert is_served(connect(server, cookie="IDANN")), "revoking affects tokens; cookies are up to the application"


def test_token_that_is_revoked_while_identify_waits_opens_no_connection() -> None:
    made = testing.gateway()
    executor = CommandExecutor(PLACE, made._registry, made._shared.revocations)

    def identify(environ: dict[str, Any]) -> Identity | None:
        found = made.verify(environ["HTTP_COOKIE"], environ)
        # The application looks something up. Meanwhile an operator revokes the token.
        revoked = Revocation("IDANN", in_an_hour(), issued=time.time())
        assert list(executor.execute(DisconnectCommand(QUESTION, "IDANN", revoked=revoked))) == [Answer(PLACE, 0)]
        return found

    made.websocket("/trade", identify=identify)(lambda ws: ws.send("served"))
    with testing.serve(made) as server:
        with pytest.raises(InvalidStatus) as refused:
            server.connect("/trade", cookie=server.token("IDANN"))
        assert refused.value.response.status_code == 401


def test_received_revocation_closes_connections_of_its_tokens(gateway: Gateway) -> None:
    revocations = gateway._shared.revocations
    executor = CommandExecutor(PLACE, gateway._registry, revocations)
    with testing.serve(gateway) as server:
        ann, bob = connect(server, token=server.token("IDANN")), connect(server, token=server.token("IDBOB"))
        by_cookie = connect(server, cookie="IDANN")
        assert testing._run(executor.close_revoked) == 0
        revocations.add(Revocation("IDANN", in_an_hour(), issued=time.time()), time.time())
        assert testing._run(executor.close_revoked) == 1
        assert ann.closed() == DISCONNECTED
        assert testing._run(executor.close_revoked) == 0, "a closed connection was closed again"
        assert is_served(bob)
        assert is_served(by_cookie), "a connection without a token was closed"


@pytest.mark.parametrize("who", ["token", "cookie"])
def test_messages_after_a_disconnect_are_ignored(
    gateway: Gateway, execute: Callable[[Command], list[Answer]], orders: list[str], who: str
) -> None:
    with testing.serve(gateway) as server, RawClient(server.port) as ann:
        token = {"Authorization": f"Bearer {server.token('IDANN')}"}
        headers = token if who == "token" else {"Cookie": "IDANN"}
        assert ann.request(headers, "GET /trade HTTP/1.1").status == 101
        ann.send(text("an order"))
        assert [ann.next(), ann.next()] == [Frame(TEXT, b"IDANN"), Frame(TEXT, b"placed")]
        execute(DisconnectCommand(QUESTION, "IDANN"))
        ann.send(text("too late"), close(4403))
        assert ann.next() == Frame(CLOSE, (4403).to_bytes(2) + b"disconnected by the operator")
        assert ann.next() is None
    assert orders == ["an order"]


def test_one_connection_is_closed_by_its_id(gateway: Gateway, execute: Callable[[Command], list[Answer]]) -> None:
    with testing.serve(gateway) as server:
        gone, stays = connect(server, cookie="IDANN"), connect(server, cookie="IDANN")
        first, _ = sorted(gateway._registry, key=lambda connection: connection.ws.opened)
        assert execute(CloseCommand(QUESTION, first.ws.id)) == [Answer(PLACE, 1)]
        assert gone.closed() == DISCONNECTED
        assert is_served(stays)
        assert execute(CloseCommand(QUESTION, "nobody")) == [Answer(PLACE, 0)]


def test_cancelled_revocation_accepts_the_token_again(
    gateway: Gateway, execute: Callable[[Command], list[Answer]]
) -> None:
    with testing.serve(gateway) as server:
        token = server.token("IDANN")
        revoked = Revocation("IDANN", in_an_hour(), issued=time.time())
        execute(DisconnectCommand(QUESTION, "IDANN", revoked=revoked))
        with pytest.raises(InvalidStatus):
            server.connect("/trade", token=token)
        assert execute(CancelCommand(QUESTION, revoked)) == [Answer(PLACE, 0)]
        assert is_served(connect(server, token=token))


def test_streams_of_a_connection_are_listed_on_request(
    gateway: Gateway, execute: Callable[[Command], list[Answer]]
) -> None:
    with testing.serve(gateway) as server:
        ann = server.connect("/private?stream=order&stream=btcusd.trades", token=server.token("IDANN"))
        ann.receive()
        for wanted, streams in ((False, []), (True, ["order", "btcusd.trades"])):
            part, last = execute(WhoCommand(QUESTION, "IDANN", wanted))
            (member,) = part.members
            assert (member.uid, member.protocol, member.waiting, member.streams) == ("IDANN", "ranger", 0, streams)
            assert (part.last, last.last, last.connections) == (False, True, 1)


def test_status_has_problems_and_connections(gateway: Gateway) -> None:
    executor = CommandExecutor(
        PLACE, gateway._registry, gateway._shared.revocations, problems=lambda: ["draining"], lag=lambda: 1.25
    )
    with testing.serve(gateway) as server:
        ann, other = connect(server, cookie="IDANN"), server.connect("/public?stream=btcusd.trades")
        other.receive()
        (answer,) = testing._run(lambda: list(executor.execute(GatewaysCommand(QUESTION))))
        status = answer.status
        assert status is not None
        assert (status.version, status.connections, status.members) == (VERSION, 2, 1)
        assert (status.problems, status.lag) == (["draining"], 1.25)
        assert abs(status.since - time.time()) < 600
        assert is_served(ann)


def test_connection_that_is_not_authenticated_any_more_is_not_listed(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler may interrupt `authenticate`, which undoes it, while an earlier part of the list is sent."""
    monkeypatch.setattr(commands, "BATCH", 1)
    executor = CommandExecutor(PLACE, gateway._registry, gateway._shared.revocations)

    def who() -> list[Answer]:
        answers = executor.execute(WhoCommand(QUESTION))
        first = next(answers)
        for one in gateway._registry:
            if one.ws.id != first.members[0].id:
                one.member = None  # type: ignore[attr-defined]
        return [first, *answers]

    with testing.serve(gateway) as server:
        clients = [connect(server, cookie="IDANN") for _ in range(2)]
        first, *_, last = testing._run(who)
        assert (len(first.members), last) == (1, Answer(PLACE, 2))
        assert all(is_served(client) for client in clients)
