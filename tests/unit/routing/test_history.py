"""Which private events the history keeps, and what a position guarantees."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from peatio_ws.protocol.exchanges import Delivery
from peatio_ws.routing.history import ENTRY_BYTES, STREAM, History, Position

EVENT = Delivery("peatio.orderbook", "", {}, b'{"id":1}')


def history(name: str = STREAM, seconds: float = 100.0, most_bytes: int = 10**6) -> History:
    return History(name, seconds, most_bytes)


def offsets(kept: History, owners: tuple[Any, ...], after: int) -> list[int]:
    return [entry.offset for entry in kept.after(owners, after)]


def test_member_has_events_of_all_its_names_once_and_in_order() -> None:
    kept = history()
    for offset, owners in ((3, ("A",)), (4, ("B",)), (7, ("A", 1)), (9, (1,)), (20, ("A",))):
        kept.append(offset, EVENT, owners, 0.0)
    assert offsets(kept, ("A", 1), -1) == [3, 7, 9, 20]
    assert offsets(kept, ("A", 1), 7) == [9, 20]
    assert offsets(kept, ("A",), 20) == offsets(kept, ("C",), -1) == offsets(kept, (), -1) == []
    assert [entry.offset for entry in kept.up_to(("A", 1), 9, 2)] == [7, 9]


def test_earlier_events_are_not_added_again() -> None:
    kept = history()
    assert kept.append(5, EVENT, ("A",), 0.0) is not None
    assert kept.append(5, EVENT, ("A",), 0.0) is None
    assert kept.append(4, EVENT, ("A",), 0.0) is None
    assert (len(kept), kept.last) == (1, 5)


def test_oldest_events_are_forgotten_by_age_and_size() -> None:
    kept = history(seconds=10, most_bytes=4 * (len(EVENT.body) + ENTRY_BYTES))
    for offset in range(1, 4):
        kept.append(offset, EVENT, ("A",), float(offset))
    kept.append(4, EVENT, ("A",), 12.5)
    assert offsets(kept, ("A",), -1) == [3, 4]
    for offset in range(5, 9):
        kept.append(offset, EVENT, ("A",), 13.0)
    assert offsets(kept, ("A",), -1) == [5, 6, 7, 8]
    kept.evict(1000.0)
    assert offsets(kept, ("A",), -1) == [8]


def test_events_since_a_time_are_the_newest() -> None:
    kept = history()
    assert not list(kept.since(0.0))
    for offset, received_at in ((1, 10.0), (2, 15.0), (3, 20.0)):
        kept.append(offset, EVENT, ("A",), received_at)
    assert [entry.offset for entry in kept.since(15.0)] == [3, 2]


class CountingList(list[Any]):
    """Counts the items that move when items before them are removed."""

    moved = 0

    def __delitem__(self, place: Any) -> None:
        super().__delitem__(place)
        self.moved += len(self)


def test_events_that_name_member_ids_are_known_after_they_were_removed() -> None:
    kept = history(seconds=10.0)
    for offset, owners in ((1, ("A",)), (2, ("A", 7)), (3, (8,)), (4, ("A",))):
        kept.append(offset, EVENT, owners, float(offset))
    assert [kept.has_member_ids_after(offset) for offset in (0, 2, 3)] == [True, True, False]
    assert not kept.lacks_member_ids_after(0)
    kept.evict(12.5)  # 1 and 2
    assert [kept.has_member_ids_after(offset) for offset in (0, 2, 3)] == [True, True, False]
    assert [kept.lacks_member_ids_after(offset) for offset in (1, 2)] == [True, False]
    kept.clear(STREAM)
    assert not kept.has_member_ids_after(-1)
    assert not kept.lacks_member_ids_after(-1)


def test_removing_an_event_costs_the_same_for_busy_members() -> None:
    """A market maker may have most events of an exchange."""
    kept, of_member = history(seconds=5000, most_bytes=10**9), CountingList()
    kept._by_owner["A"] = of_member
    for offset in range(20_000):
        kept.append(offset, EVENT, ("A",), float(offset))
        assert len(of_member) - len(kept) <= len(of_member) / 64 + 1, "removing events must not use more memory"
        assert offset < 100 or offsets(kept, ("A",), offset - 2) == [offset - 1, offset]
    assert offsets(kept, ("A",), -1) == list(range(14_999, 20_000))
    assert kept._by_owner["A"] is of_member
    assert of_member.moved <= 64 * 20_000


def test_position_is_valid_until_a_later_event_is_forgotten() -> None:
    kept = history(most_bytes=2 * (len(EVENT.body) + ENTRY_BYTES))
    positions = []
    for offset in (1, 5, 6):
        kept.append(offset, EVENT, ("A",), 0.0)
        positions.append(kept.position())
    assert [kept.holds(position) for position in positions] == [True, True, True], (
        "a position behind the first event is complete"
    )
    kept.append(9, EVENT, ("A",), 0.0)
    assert [kept.holds(position) for position in positions] == [False, True, True]
    assert (kept.is_complete_after(1), kept.is_complete_after(5)) == (False, True)


def test_position_names_the_event_before_it() -> None:
    kept, anew = history(), history()
    entry = kept.append(5, EVENT, ("A",), 0.0)
    anew.append(5, Delivery("peatio.orderbook", "", {}, b'{"id":2}'), ("A",), 0.0)
    position = kept.position(entry)
    assert kept.holds(position)
    assert not anew.holds(position), "a position in a deleted stream is not valid in its successor"
    assert not kept.holds(Position(STREAM, 6, position.digest)), "a position ahead of all events is not valid"
    assert not kept.holds(Position(STREAM, 4, position.digest)), "a position before a gap is not complete"
    assert not history("abc").holds(position), "a position of another history is not valid"


def test_own_history_has_a_position_before_its_first_event() -> None:
    kept = history("abc", most_bytes=1)
    position = kept.position()
    assert kept.holds(position)
    kept.append(1, EVENT, ("A",), 0.0)
    assert kept.holds(position)
    kept.append(2, EVENT, ("A",), 0.0)
    assert not kept.holds(position), "the first event has been forgotten"
    kept.clear("def")
    assert (len(kept), kept.last, kept.holds(position)) == (0, -1, False)
    # A stream has no such position: an empty stream may have lost its events.
    assert not history().holds(history().position())


class Model(RuleBasedStateMachine):
    """Compares the history with a list of all events: a valid position has all later events."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = history(seconds=10.0, most_bytes=20 * (len(EVENT.body) + ENTRY_BYTES))
        self.all: list[tuple[int, Any]] = []
        self.positions: list[tuple[int, Position]] = []
        self.now = 0.0

    @rule(owner=st.sampled_from(["A", "B", 1]), gap=st.integers(1, 3), seconds=st.floats(0, 3))
    def append(self, owner: Any, gap: int, seconds: float) -> None:
        self.now += seconds
        offset = max(self.kept.last, 0) + gap
        self.kept.append(offset, EVENT, (owner,), self.now)
        self.all.append((offset, owner))
        self.positions.append((offset, self.kept.position()))

    @invariant()
    def valid_positions_are_complete(self) -> None:
        for offset, position in self.positions:
            if self.kept.holds(position):
                missed = [number for number, owner in self.all if owner in ("A", 1) and number > offset]
                assert offsets(self.kept, ("A", 1), offset) == missed

    @invariant()
    def newest_position_is_always_valid(self) -> None:
        if self.positions:
            assert self.kept.holds(self.positions[-1][1])

    @invariant()
    def forgotten_events_leave_nothing_behind(self) -> None:
        assert sum(len(of_owner) for of_owner in self.kept._by_owner.values()) == len(self.kept)
        assert all(self.kept._by_owner.values())


TestModel = Model.TestCase
