"""Connections that count towards a limit: how many are let in, which are sent away, and that who leaves makes room."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from peatio_ws.close_codes import Close
from peatio_ws.cluster.local_state import ConnectionSlot
from peatio_ws.server.connections.connection_limits import LimitedConnection


class Shared:
    """Stands where what workers share would: keeps who sits."""

    def __init__(self) -> None:
        self.slot_counts: Counter[str] = Counter()
        self.taken: list[ConnectionSlot] = []

    def claim_slot(self, slot: ConnectionSlot) -> None:
        self.taken.append(slot)

    def release_slot(self, slot: ConnectionSlot) -> None:
        self.taken.remove(slot)


class Crowd:
    """Connections to one worker.

    Attributes:
        closes: code and reason of those that were closed, in turn.
    """

    def __init__(self, per_member: int = 2) -> None:
        self.shared, self.closes = Shared(), list[tuple[int, str]]()
        self._context: Any = SimpleNamespace(shared=self.shared, settings=SimpleNamespace(max_per_member=per_member))

    def one(self) -> LimitedConnection:
        outbox = SimpleNamespace(close=lambda code, reason: self.closes.append((code, reason)))
        ws: Any = SimpleNamespace(outbox=outbox)
        return LimitedConnection(self._context, ws, "203.0.113.7")


def test_one_too_many_is_closed_and_does_not_count() -> None:
    crowd = Crowd()
    assert [crowd.one().claim_member_slot("IDANN") for _ in range(3)] == [True, True, False]
    assert crowd.closes == [(Close.FULL, "too many connections of this member")]
    assert crowd.shared.slot_counts == {"member:IDANN": 2}
    assert crowd.one().claim_member_slot("IDBOB")


def test_who_leaves_makes_room_and_nothing_is_left_of_the_last() -> None:
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


def test_one_may_count_under_several_names() -> None:
    crowd = Crowd()
    one = crowd.one()
    assert one.claim_slot("address:203.0.113.7", 5, "too many")
    assert one.claim_member_slot("IDANN")
    assert sorted(slot.name for slot in crowd.shared.taken) == ["address:203.0.113.7", "member:IDANN"]
    one.release_slots()
    assert not crowd.shared.slot_counts
    assert crowd.shared.taken == []


def test_without_a_limit_nobody_is_counted() -> None:
    crowd = Crowd(per_member=0)
    assert all(crowd.one().claim_member_slot("IDANN") for _ in range(100))
    assert not crowd.shared.slot_counts


@pytest.mark.parametrize("reason", ["too many", "full"])
def test_one_that_is_too_many_across_workers_is_closed_by_its_seat(reason: str) -> None:
    crowd = Crowd()
    crowd.one().claim_slot("address:203.0.113.7", 5, reason)
    (slot,) = crowd.shared.taken
    assert crowd.closes == []
    slot.on_excess()
    assert crowd.closes == [(Close.FULL, reason)]
