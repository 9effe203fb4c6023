"""The last private events of everybody, in the order of their offsets, and positions in them (contract section 5).

Deliveries in, deliveries out. Offsets rise and may have holes; whether they are a stream's, the same for every worker,
or this worker's own count is the caller's business, as is the time. Knows nothing of sessions, of how events look, and
of how clients see a position (`cursor.py`).
"""

from __future__ import annotations

import bisect
import heapq
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from peatio_ws.protocol.event_kinds import Delivery, Event, Order, Owner, StreamEvent, Trade

STREAM: Final = "s"
"""Name of a history whose offsets are the same for every worker."""
ENTRY_BYTES: Final = 300
"""What an event takes beside its body, about."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One event in its place.

    Attributes:
        received_at: when, in seconds of any clock.
    """

    offset: int
    delivery: Delivery
    owners: tuple[Owner, ...]
    received_at: float

    @property
    def digest(self) -> int:
        """Tells this event from another with the same offset, in a stream that was deleted and made anew."""
        return zlib.crc32(self.delivery.body)

    @property
    def size(self) -> int:
        """Bytes, about."""
        return len(self.delivery.body) + ENTRY_BYTES


class Position(msgspec.Struct, frozen=True):
    """A place in a history, behind an event: what a cursor points to.

    Attributes:
        history: its name.
        offset: of the event.
        digest: see `Entry.digest`.
    """

    history: str
    offset: int
    digest: int


def owners_of(event: Event) -> tuple[Owner, ...]:
    """Whom a private event concerns; nobody for a public one."""
    if isinstance(event, Order):
        return (event.owner,)
    if isinstance(event, Trade):
        return tuple(dict.fromkeys(party.owner for party in event.parties))
    return (event.owner,) if isinstance(event, StreamEvent) and event.owner else ()


class History:
    """What was sent to whom, for a while.

    Args:
        name: of the offsets; another name is another history, whose positions mean nothing here.
        seconds: for how long events are kept.
        most_bytes: of events kept, about.

    Attributes:
        last: the highest offset; -1 before the first.
        era: goes up whenever it begins anew, be it under the same name.
    """

    def __init__(self, name: str, seconds: float, most_bytes: int) -> None:
        self.name = name
        self._seconds, self._most_bytes = seconds, most_bytes
        self._entries: deque[Entry] = deque()
        self._by_owner: dict[Owner, list[Entry]] = {}
        self._evicted: Entry | None = None
        self._bytes = 0
        self.last = -1
        self.era = 0

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, offset: int, delivery: Delivery, owners: tuple[Owner, ...], now: float) -> Entry | None:
        """Keep an event; None, and nothing happens, if it came before."""
        if offset <= self.last:
            return None
        entry = Entry(offset, delivery, owners, now)
        self.last = offset
        self._entries.append(entry)
        self._bytes += entry.size
        for owner in owners:
            self._by_owner.setdefault(owner, []).append(entry)
        self.evict(now)
        return entry

    def evict(self, now: float) -> None:
        """Forget what is too old or too much; never the newest, which is where a fresh cursor points to."""
        entries, until = self._entries, now - self._seconds
        while len(entries) > 1 and (entries[0].received_at < until or self._bytes > self._most_bytes):
            self._evicted = entry = entries.popleft()
            self._bytes -= entry.size
            for owner in entry.owners:
                of_owner = self._by_owner[owner]
                del of_owner[0]
                if not of_owner:
                    del self._by_owner[owner]

    def clear(self, name: str) -> None:
        """Begin a new history: what comes does not follow what there was."""
        self.name = name
        self._entries.clear()
        self._by_owner.clear()
        self._evicted, self._bytes, self.last = None, 0, -1
        self.era += 1

    def position(self, entry: Entry | None = None) -> Position:
        """Return the position behind this event, or behind the newest."""
        if entry is None:
            if not self._entries:
                return Position(self.name, 0, 0)
            entry = self._entries[-1]
        return Position(self.name, entry.offset, zlib.crc32(entry.delivery.body))

    def holds(self, position: Position) -> bool:
        """Whether everything after this position is here. It is not for one ahead of `last`."""
        if position.history != self.name:
            return False
        if position.offset == 0 and self.name != STREAM:
            return self._evicted is None  # from before the first event; a worker counts from 1
        place = bisect.bisect_left(self._entries, position.offset, key=_offset)
        found = self._entries[place] if place < len(self._entries) else None
        if found is None or found.offset != position.offset:
            found = self._evicted
        return found is not None and (found.offset, found.digest) == (position.offset, position.digest)

    def has_all_after(self, offset: int) -> bool:
        """Whether nothing after this offset was forgotten."""
        return self._evicted is None or self._evicted.offset <= offset

    def names(self, owner: Owner, offset: int) -> bool:
        """Whether there is an event of this owner after an offset."""
        of_owner = self._by_owner.get(owner, [])
        return bool(of_owner) and of_owner[-1].offset > offset

    def numbered_after(self, offset: int) -> bool:
        """Whether an event after this offset names any member by number. Takes as long as there are owners."""
        return any(isinstance(owner, int) and self.names(owner, offset) for owner in self._by_owner)

    def after(self, owners: Iterable[Owner], offset: int) -> Iterator[Entry]:
        """The events of one member, by all its names, after an offset, in order, each once."""
        last = -1
        for entry in heapq.merge(*(self._from(owner, offset + 1) for owner in owners), key=_offset):
            if entry.offset != last:
                last = entry.offset
                yield entry

    def up_to(self, owners: Iterable[Owner], offset: int, most: int) -> list[Entry]:
        """The last events of one member up to an offset, this one included; each once, in order."""
        found: dict[int, Entry] = {}
        for owner in owners:
            of_owner = self._by_owner.get(owner, [])
            end = bisect.bisect_right(of_owner, offset, key=_offset)
            found.update((entry.offset, entry) for entry in of_owner[max(0, end - most) : end])
        return [found[key] for key in sorted(found)][-most:]

    def _from(self, owner: Owner, offset: int) -> list[Entry]:
        of_owner = self._by_owner.get(owner, [])
        return of_owner[bisect.bisect_left(of_owner, offset, key=_offset) :]


def _offset(entry: Entry) -> int:
    return entry.offset
