"""Common behaviour of all connections: limits, the expiry of tokens, and closing."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from peatio_ws.auth.identity import Identity
from peatio_ws.close_codes import Close
from peatio_ws.cluster.local_state import ConnectionSlot
from peatio_ws.monitoring.counters import ConnectionStatus
from peatio_ws.server.connections.base_connection import BaseConnection


class Shared:
    """A shared state that records the slots."""

    def __init__(self) -> None:
        self.slot_counts: Counter[str] = Counter()
        self.taken: list[ConnectionSlot] = []

    def claim_slot(self, slot: ConnectionSlot) -> None:
        self.taken.append(slot)

    def release_slot(self, slot: ConnectionSlot) -> None:
        self.taken.remove(slot)


class Connection(BaseConnection):
    """A connection without a protocol.

    Attributes:
        identity: identity of the client.
        steps: recorded steps, in order.
        failure: raised by `_serve` and `_leave`.
        idles: how often `_serve` returns before the end.
    """

    idles = 0

    identity: Identity | None = None
    streams = ()
    status = ConnectionStatus("none", False, 0, None)

    def __init__(self, context: Any, ws: Any, failure: BaseException | None = None) -> None:
        super().__init__(context, ws, "203.0.113.7")
        self.steps, self.failure = list[str](), failure
        ws.end = lambda: self.steps.append("end")

    def _serve(self) -> bool:
        if not self.steps:
            assert self.claim_member_slot("IDANN")
        self.steps.append("serve")
        self._fail()
        self.idles -= 1
        return self.idles < 0

    def _leave(self) -> None:
        self.steps.append("leave")
        self._fail()

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure


class Crowd:
    """Connections to one worker.

    Attributes:
        closes: code and reason of the closed connections, in order.
        authenticated: those of which traces were notified.
    """

    def __init__(self, per_member: int = 2, enforces_expiry: bool = False) -> None:
        self.shared, self.closes = Shared(), list[tuple[int, str]]()
        self.authenticated: list[Connection] = []
        settings = SimpleNamespace(max_per_member=per_member, jwt_enforce_expiry=enforces_expiry)
        tracing = SimpleNamespace(on_authenticated=self.authenticated.append)
        self._context: Any = SimpleNamespace(shared=self.shared, settings=settings, tracing=tracing)

    def connection(self, failure: BaseException | None = None) -> Connection:
        outbox = SimpleNamespace(close=lambda code, reason: self.closes.append((code, reason)))
        return Connection(self._context, SimpleNamespace(outbox=outbox, id="c1"), failure)


@pytest.mark.parametrize("failure", [None, ValueError(), SystemExit()])
def test_connection_releases_everything_however_it_ends(failure: BaseException | None) -> None:
    crowd = Crowd()
    connection = crowd.connection(failure)
    with pytest.raises(type(failure)) if failure is not None else contextlib.nullcontext():
        connection.run()
    assert connection.steps == ["serve", "leave", "end"]
    assert not crowd.shared.slot_counts


def test_an_idle_connection_keeps_what_it_holds() -> None:
    crowd = Crowd()
    connection = crowd.connection()
    connection.idles = 2
    assert [connection.run(), connection.run()] == [False, False]
    assert connection.steps == ["serve", "serve"]
    assert crowd.shared.slot_counts == {"member:IDANN": 1}
    assert connection.run()
    assert connection.steps == ["serve", "serve", "serve", "leave", "end"]
    assert not crowd.shared.slot_counts


@pytest.mark.parametrize("enforced", [False, True])
def test_token_expires_only_if_expiry_is_enforced(enforced: bool) -> None:
    connection = Crowd(enforces_expiry=enforced).connection()
    assert not connection.is_expired(), "an anonymous client has no token that could expire"
    for seconds, expired in ((-1.0, enforced), (60.0, False)):
        connection.identity = Identity("IDANN", None, "", time.time() + seconds)
        assert connection.is_expired() is expired


def test_a_connection_over_the_limit_is_closed_and_does_not_count() -> None:
    crowd = Crowd()
    assert [crowd.connection().claim_member_slot("IDANN") for _ in range(3)] == [True, True, False]
    assert crowd.closes == [(Close.FULL, "too many connections of this member")]
    assert crowd.shared.slot_counts == {"member:IDANN": 2}
    assert crowd.connection().claim_member_slot("IDBOB")
    assert len(crowd.authenticated) == 4


def test_a_connection_that_ends_makes_room_for_another() -> None:
    crowd = Crowd()
    first, second = crowd.connection(), crowd.connection()
    assert first.claim_member_slot("IDANN")
    assert second.claim_member_slot("IDANN")
    first.release_slots()
    first.release_slots()
    assert crowd.shared.slot_counts == {"member:IDANN": 1}
    assert crowd.connection().claim_member_slot("IDANN")
    for _ in range(2):
        second.release_slots()
    assert crowd.shared.slot_counts == {"member:IDANN": 1}


def test_a_connection_may_count_under_several_names() -> None:
    crowd = Crowd()
    connection = crowd.connection()
    assert connection.claim_slot("address:203.0.113.7", 5, "too many")
    assert connection.claim_member_slot("IDANN")
    assert sorted(slot.name for slot in crowd.shared.taken) == ["address:203.0.113.7", "member:IDANN"]
    connection.release_slots()
    assert not crowd.shared.slot_counts
    assert crowd.shared.taken == []


def test_without_a_limit_connections_are_not_counted() -> None:
    crowd = Crowd(per_member=0)
    assert all(crowd.connection().claim_member_slot("IDANN") for _ in range(100))
    assert not crowd.shared.slot_counts


@pytest.mark.parametrize("reason", ["too many", "full"])
def test_a_connection_over_the_limit_of_all_workers_is_closed(reason: str) -> None:
    crowd = Crowd()
    crowd.connection().claim_slot("address:203.0.113.7", 5, reason)
    (slot,) = crowd.shared.taken
    assert crowd.closes == []
    slot.on_excess()
    assert crowd.closes == [(Close.FULL, reason)]
