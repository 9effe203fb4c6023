"""What connections of both kinds share: limits, the expiry of tokens, and the end."""

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
        identity: of its client.
        steps: what happened to it, in order.
        failure: raised while it serves and while it leaves.
    """

    identity: Identity | None = None
    status = ConnectionStatus("none", False, 0, None)

    def __init__(self, context: Any, ws: Any, failure: BaseException | None = None) -> None:
        super().__init__(context, ws, "203.0.113.7")
        self.steps, self.failure = list[str](), failure
        ws.end = lambda: self.steps.append("end")

    def _serve(self) -> None:
        assert self.claim_member_slot("IDANN")
        self.steps.append("serve")
        self._fail()

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
    """

    def __init__(self, per_member: int = 2, enforces_expiry: bool = False) -> None:
        self.shared, self.closes = Shared(), list[tuple[int, str]]()
        settings = SimpleNamespace(max_per_member=per_member, jwt_enforce_expiry=enforces_expiry)
        self._context: Any = SimpleNamespace(shared=self.shared, settings=settings)

    def one(self, failure: BaseException | None = None) -> Connection:
        outbox = SimpleNamespace(close=lambda code, reason: self.closes.append((code, reason)))
        return Connection(self._context, SimpleNamespace(outbox=outbox, id="c1"), failure)


@pytest.mark.parametrize("failure", [None, ValueError(), SystemExit()])
def test_a_connection_releases_everything_however_it_ends(failure: BaseException | None) -> None:
    crowd = Crowd()
    one = crowd.one(failure)
    with pytest.raises(type(failure)) if failure is not None else contextlib.nullcontext():
        one.run()
    assert one.steps == ["serve", "leave", "end"]
    assert not crowd.shared.slot_counts


@pytest.mark.parametrize("enforced", [False, True])
def test_a_token_expires_only_where_that_is_enforced(enforced: bool) -> None:
    one = Crowd(enforces_expiry=enforced).one()
    assert not one.is_expired(), "an anonymous client has no token"
    for seconds, expired in ((-1.0, enforced), (60.0, False)):
        one.identity = Identity("IDANN", None, "", time.time() + seconds)
        assert one.is_expired() is expired


def test_a_connection_over_the_limit_is_closed_and_does_not_count() -> None:
    crowd = Crowd()
    assert [crowd.one().claim_member_slot("IDANN") for _ in range(3)] == [True, True, False]
    assert crowd.closes == [(Close.FULL, "too many connections of this member")]
    assert crowd.shared.slot_counts == {"member:IDANN": 2}
    assert crowd.one().claim_member_slot("IDBOB")


def test_a_connection_that_ends_makes_room_for_another() -> None:
    crowd = Crowd()
    first, second = crowd.one(), crowd.one()
    assert first.claim_member_slot("IDANN")
    assert second.claim_member_slot("IDANN")
    first.release_slots()
    first.release_slots()
    assert crowd.shared.slot_counts == {"member:IDANN": 1}
    assert crowd.one().claim_member_slot("IDANN")
    for _ in range(2):
        second.release_slots()
    assert crowd.shared.slot_counts == {"member:IDANN": 1}


def test_a_connection_may_count_under_several_names() -> None:
    crowd = Crowd()
    one = crowd.one()
    assert one.claim_slot("address:203.0.113.7", 5, "too many")
    assert one.claim_member_slot("IDANN")
    assert sorted(slot.name for slot in crowd.shared.taken) == ["address:203.0.113.7", "member:IDANN"]
    one.release_slots()
    assert not crowd.shared.slot_counts
    assert crowd.shared.taken == []


def test_without_a_limit_connections_are_not_counted() -> None:
    crowd = Crowd(per_member=0)
    assert all(crowd.one().claim_member_slot("IDANN") for _ in range(100))
    assert not crowd.shared.slot_counts


@pytest.mark.parametrize("reason", ["too many", "full"])
def test_a_connection_over_the_limit_of_all_workers_is_closed(reason: str) -> None:
    crowd = Crowd()
    crowd.one().claim_slot("address:203.0.113.7", 5, reason)
    (slot,) = crowd.shared.taken
    assert crowd.closes == []
    slot.on_excess()
    assert crowd.closes == [(Close.FULL, reason)]
