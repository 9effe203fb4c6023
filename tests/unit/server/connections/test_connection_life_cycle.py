"""Clients drive a real gateway through every entry of the life cycle of a connection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from peatio_ws import testing
from peatio_ws.protocol.connection_state import CONNECTION, ConnectionInput, ConnectionState
from peatio_ws.routing.receiver import Receiver
from tests.programs.life_cycles import CYCLES
from tests.support.servers import wait_until

Pairs = set[tuple[ConnectionState, ConnectionInput]]
UID = "IDANN"


class Driven:
    """A gateway, and the recorded pairs of state and input of its connections."""

    def __init__(self, server: testing.Server, gateway: testing.Gateway, pairs: Pairs) -> None:
        self.server, self.gateway, self.pairs = server, gateway, pairs

    def ended(self) -> None:
        """Wait until all connections have ended."""
        wait_until(lambda: not len(self.gateway._registry), "all connections ended")

    def jwt(self, resume: object = None) -> dict[str, Any]:
        return {"jwt": f"Bearer {self.server.token(UID)}", "resume": resume}

    def resumable(self) -> tuple[testing.Client, str]:
        """Return a ranger client without streams, and a cursor that it can resume from."""
        with self.server.connect("/private?resume=1", token=self.server.token(UID)) as other:
            cursor: str = other.json()["resume"]["cursor"]
        client = self.server.connect("/public")
        client.json()
        return client, cursor


@pytest.fixture
def driven(monkeypatch: pytest.MonkeyPatch) -> Iterator[Driven]:
    pairs, advance = Pairs(), Receiver.advance

    def record(receiver: Receiver, happened: ConnectionInput) -> None:
        pairs.add((receiver.state, happened))
        advance(receiver, happened)

    monkeypatch.setattr(Receiver, "advance", record)
    gateway = testing.gateway()
    with testing.serve(gateway) as server:
        yield Driven(server, gateway, pairs)


def talk(client: testing.Client, *messages: object) -> None:
    """Send messages that have one answer each, read the answers, and disconnect."""
    with client:
        for message in messages:
            client.send(message)
            answer = client.json()
            assert "success" in answer, answer


def subscribe(stream: str) -> dict[str, Any]:
    return {"event": "subscribe", "streams": [stream]}


def fail(*_arguments: object) -> Any:
    raise RuntimeError("a failure of the gateway")


def test_peatio_connections_use_every_entry_of_the_table(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    server = driven.server
    talk(server.connect("/ranger"))
    for path, token in (("/public?stream=a.b", None), ("/private?stream=order", server.token(UID))):
        client = server.connect(path, token=token)
        client.json()
        talk(client, subscribe("c.d"))
    client = server.connect("/public?stream=a.b")
    client.json()
    talk(client, driven.jwt(), driven.jwt(True), subscribe("order"))
    client, cursor = driven.resumable()
    talk(client, driven.jwt(cursor), driven.jwt(True), subscribe("a.b"))
    client, cursor = driven.resumable()
    talk(client, driven.jwt(cursor), subscribe("order"))
    driven.ended()

    client, cursor = driven.resumable()
    client.send(driven.jwt(cursor))
    client.json()
    with monkeypatch.context() as patched:
        patched.setattr(driven.gateway._ingest.replays, "run", fail)
        client.send(subscribe("order"))
        client.json()
        assert client.closed()[0] == 1011
        driven.ended()
    with monkeypatch.context() as patched:
        patched.setattr(driven.gateway._ingest.interest, "acquire_member", fail)
        assert server.connect("/private", token=server.token(UID)).closed()[0] == 1011
        driven.ended()

    assert driven.pairs == set(CONNECTION)


def test_handler_connections_use_only_entries_of_their_table(driven: Driven) -> None:
    @driven.gateway.websocket("/here")
    def handler(ws: Any) -> None:
        for stream in ws:
            ws.subscribe(stream)
            ws.send('{"success":"subscribed"}')

    for streams in ([], ["a.b"], ["a.b", "c.d", "order", "e.f"], ["order"]):
        talk(driven.server.connect("/here", token=driven.server.token(UID)), *streams)
    driven.ended()
    assert driven.pairs <= set(CYCLES["handler connection"].table)  # type: ignore[arg-type]
    assert {state for state, _ in driven.pairs} == set(CYCLES["handler connection"].states) - {ConnectionState.ENDED}
