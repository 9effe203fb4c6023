"""The last private events of all members, in the order of their offsets, and positions among them (contract section 5).

Deliveries in, deliveries out. Offsets rise and may have holes. The caller chooses them: those of a stream, the same for
every worker, or this worker's own count. The caller also has the clock. Does not know sessions, the texts of events, or
the form in which clients see a position (`cursor.py`).
"""

from __future__ import annotations

import bisect
import heapq
import itertools
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from peatio_ws.protocol.exchanges import Delivery
from peatio_ws.protocol.message_fields import Owner

STREAM: Final = "s"
"""The name of a history whose offsets are the same for every worker."""
ENTRY_BYTES: Final = 300
"""Approximate memory of an event in addition to its body."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One event in its place.

    Attributes:
        owners: its recipients; none for a marker.
        received_at: when it was read, in seconds of any clock.
    """

    offset: int
    delivery: Delivery
    owners: tuple[Owner, ...]
    received_at: float

    @property
    def digest(self) -> int:
        """Tells this event from another one with the same offset, in a stream that was deleted and declared again."""
        delivery = self.delivery
        if delivery.exchange:
            return zlib.crc32(delivery.body)
        # A message of the gateways: all GAP messages have the same body, and differ in their id (`setup.py`).
        return zlib.crc32(delivery.body, zlib.crc32(str(delivery.headers.get("id", "")).encode()))

    @property
    def size(self) -> int:
        """Approximate memory in bytes."""
        return len(self.delivery.body) + ENTRY_BYTES


class Position(msgspec.Struct, frozen=True):
    """A place in a history, behind an event. A cursor contains one.

    Attributes:
        history: its name.
        offset: of the event.
        digest: see `Entry.digest`.
    """

    history: str
    offset: int
    digest: int


class ReplayPosition(NamedTuple):
    """The place in the history from which a client continues.

    Attributes:
        offset: the last event that it has received.
        era: see `History`.
    """

    offset: int
    era: int


class History:
    """The private events of the last minutes.

    Args:
        name: of the offsets. Positions of a history with another name are invalid here.
        seconds: how long events are kept.
        most_bytes: the approximate limit of memory.

    Attributes:
        last: the highest offset; -1 before the first event.
        era: increases whenever the history begins again, even under the same name.
    """

    def __init__(self, name: str, seconds: float, most_bytes: int) -> None:
        self.name = name
        self._seconds, self._most_bytes = seconds, most_bytes
        self._entries: deque[Entry] = deque()
        self._by_owner: dict[Owner, list[Entry]] = {}
        self._evicted: Entry | None = None
        self._bytes = 0
        self._last_by_member_id = self._evicted_by_member_id = -1  # offsets
        self.last = -1
        self.era = 0

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, offset: int | None, delivery: Delivery, owners: tuple[Owner, ...], now: float) -> Entry | None:
        """Add an event. Return None, and do nothing, if it was added before.

        Args:
            offset: in the stream; None to count on from the last one.
        """
        if offset is None:
            offset = max(self.last, 0) + 1
        elif offset <= self.last:
            return None
        entry = Entry(offset, delivery, owners, now)
        self.last = offset
        self._entries.append(entry)
        self._bytes += entry.size
        for owner in owners:
            self._by_owner.setdefault(owner, []).append(entry)
            if isinstance(owner, int):
                self._last_by_member_id = offset
        self.evict(now)
        return entry

    def evict(self, now: float) -> None:
        """Remove events that are too old or too many, but never the newest, to which a fresh cursor points."""
        entries, until = self._entries, now - self._seconds
        while len(entries) > 1 and (entries[0].received_at < until or self._bytes > self._most_bytes):
            self._evicted = entry = entries.popleft()
            self._bytes -= entry.size
            for owner in entry.owners:
                if isinstance(owner, int):
                    self._evicted_by_member_id = entry.offset
                of_owner = self._by_owner[owner]
                if of_owner[-1] is entry:
                    del self._by_owner[owner]
                    continue
                # Not each on its own: a member may have most of all events, and all of them would move up.
                some = len(of_owner) // 64
                if of_owner[some].offset <= entry.offset:
                    del of_owner[: some + 1]

    def clear(self, name: str) -> None:
        """Begin a new history: the next events do not follow the previous ones."""
        self.name = name
        self._entries.clear()
        self._by_owner.clear()
        self._evicted, self._bytes, self.last = None, 0, -1
        self._last_by_member_id = self._evicted_by_member_id = -1
        self.era += 1

    def position(self, entry: Entry | None = None) -> Position:
        """Return the position behind this event, or behind the newest event."""
        if entry is None:
            if not self._entries:
                return Position(self.name, 0, 0)
            entry = self._entries[-1]
        return Position(self.name, entry.offset, entry.digest)

    def holds(self, position: Position) -> bool:
        """Return whether all events after a position are here. For a position ahead of `last` they are not."""
        if position.history != self.name:
            return False
        if position.offset == 0 and self.name != STREAM:
            return self._evicted is None  # a position before the first event; a worker counts from 1
        place = bisect.bisect_left(self._entries, position.offset, key=_offset)
        found = self._entries[place] if place < len(self._entries) else None
        if found is None or found.offset != position.offset:
            found = self._evicted
        return found is not None and (found.offset, found.digest) == (position.offset, position.digest)

    def is_complete_after(self, offset: int) -> bool:
        """Return whether no event after this offset was removed."""
        return self._evicted is None or self._evicted.offset <= offset

    def names(self, owner: Owner, offset: int) -> bool:
        """Return whether there is an event of this owner after an offset."""
        of_owner = self._by_owner.get(owner, [])
        return bool(of_owner) and of_owner[-1].offset > offset

    def has_member_ids_after(self, offset: int) -> bool:
        """Return whether an event after this offset names, or named, any member by member id."""
        return self._last_by_member_id > offset

    def lacks_member_ids_after(self, offset: int) -> bool:
        """Return whether an event after this offset that named any member by member id was removed."""
        return self._evicted_by_member_id > offset

    def after(self, owners: Iterable[Owner], offset: int) -> Iterator[Entry]:
        """Return the events of one member, by all its keys, after an offset, in order, each once."""
        last = -1
        for entry in heapq.merge(*(self._from(owner, offset + 1) for owner in owners), key=_offset):
            if entry.offset != last:
                last = entry.offset
                yield entry

    def up_to(self, owners: Iterable[Owner], offset: int, most: int) -> list[Entry]:
        """Return the last events of one member up to and including an offset, in order, each once."""
        found: dict[int, Entry] = {}
        for owner in owners:
            of_owner = self._by_owner.get(owner, [])
            start, end = self._start(of_owner), bisect.bisect_right(of_owner, offset, key=_offset)
            found.update((entry.offset, entry) for entry in of_owner[max(start, end - most) : end])
        return [found[key] for key in sorted(found)][-most:]

    def since(self, moment: float) -> Iterator[Entry]:
        """Return the events that came at this time or later, the newest first."""
        return itertools.takewhile(lambda entry: entry.received_at >= moment, reversed(self._entries))

    def _from(self, owner: Owner, offset: int) -> list[Entry]:
        of_owner = self._by_owner.get(owner, [])
        return of_owner[max(self._start(of_owner), bisect.bisect_left(of_owner, offset, key=_offset)) :]

    def _start(self, of_owner: list[Entry]) -> int:
        """Return where the events of a member begin that have not been removed."""
        return 0 if self._evicted is None else bisect.bisect_right(of_owner, self._evicted.offset, key=_offset)


def _offset(entry: Entry) -> int:
    return entry.offset
