"""What a client that comes back has missed: where its cursor points, and everything since, then live events without a
seam (contract section 5).

Waits, in the client's own greenlet; never on behalf of others.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import gevent
import gevent.event

from peatio_ws.concurrency.yielding import let_others_run
from peatio_ws.protocol.deliveries import read
from peatio_ws.protocol.event_kinds import ORDERBOOK, Order, Trade
from peatio_ws.routing.cursor import Cursors
from peatio_ws.routing.history import Entry, History
from peatio_ws.routing.receiver import Receiver
from peatio_ws.routing.router import Router
from peatio_ws.routing.seen_trades import KEPT, KEPT_SECONDS, key_of

READY_SECONDS: Final = 10.0
"""How long a client waits for a worker that reads its history back, or has not read as far as another had."""
RETURN_SECONDS: Final = 3
"""Clients told to come back are spread over at least so many seconds."""
OLD_SECONDS: Final = 2.0
"""How long a client waits if its cursor is from before history begins, though the broker does not answer."""
POLL_SECONDS: Final = (0.01, 0.1)
"""Between two looks at what was read: at first, and in the end."""
BATCH: Final = 64
"""So many events at a time, or fewer if they are large."""


def reconnect_reason(seconds: int = RETURN_SECONDS) -> str:
    """The reason of a close frame (1012) whose receiver is to come back within so many seconds."""
    return f"restart; retry after {random.randint(1, seconds)}"


class ReplayPosition(NamedTuple):
    """From where a client goes on.

    Attributes:
        offset: of the last event it needs no more.
        era: of the history; see there.
    """

    offset: int
    era: int


class Replays:
    """Those of one worker's clients.

    Args:
        cursors: of the history.
        has_read_up_to: whether everything that was published up to a monotonic time has come here; finds that out if it
            is not known, and never waits.

    Attributes:
        caught_up: set while there is nothing to be read back.
    """

    def __init__(
        self, history: History, cursors: Cursors, router: Router, has_read_up_to: Callable[[float], bool]
    ) -> None:
        self._history, self._cursors, self._router = history, cursors, router
        self._has_read_up_to = has_read_up_to
        self.caught_up = gevent.event.Event()

    def locate(self, cursor: str | None, uid: str) -> tuple[ReplayPosition, bool] | None:
        """From where a client goes on, and whether nothing between its cursor and that is missing; None if it cannot be
        known for now: then nothing may be promised, and the client is to come again.

        Args:
            cursor: as the client sent it; None if it begins anew. May wait for what another worker has read already.
            uid: of the client's member.
        """
        if not self.caught_up.wait(READY_SECONDS):
            return None
        return (self.latest(), True) if cursor is None else self._find(cursor, uid)

    def follows(self, cursor: str, uid: str, start: ReplayPosition) -> bool:
        """Return whether a member's cursor points at a place or beyond it. Never waits.

        For a place in an era that has ended: whether it is a cursor of this history. Whoever received events at that
        time was notified of the gap.
        """
        position, history = self._cursors.open(cursor, uid), self._history
        if position is None:
            return False
        return start.era != history.era or position.offset >= start.offset

    def latest(self) -> ReplayPosition:
        """Return the place of the newest event."""
        return ReplayPosition(self._history.last, self._history.era)

    def run(self, receiver: Receiver, start: ReplayPosition) -> bool:
        """Send all that the receiver's member was sent after this place, as fast as the client takes it.

        Returns:
            Whether it was everything; from its return on live events follow without a hole, if the receiver is admitted
            before anything else gets to run.
        """
        history, keys = self._history, receiver.keys
        offset, era = start
        self._recall_trades(receiver, offset)
        while history.era == era and history.has_all_after(offset):
            # Held here, so that they stay though the history forgets them meanwhile.
            missed, offset = list(history.after(keys, offset)), history.last
            if not missed:
                return True
            if not self._send(receiver, missed):
                return True
        return False

    def catch_up(
        self, receiver: Receiver, number: int, start: ReplayPosition, settle: Callable[[int, bool], None]
    ) -> None:
        """Send what named the receiver's member only by this number after a place; by uid it receives events already.

        An order whose later state was sent already, because that named the uid, is left out: states never go backward.

        Args:
            settle: is called before anything else gets to run, with whether it was everything.
        """
        history, uid = self._history, receiver.uid
        receiver.member_id = number
        offset, era = start
        while history.era == era and history.has_all_after(offset):
            missed = [entry for entry in history.after((number,), offset) if uid not in entry.owners]
            if not missed:
                settle(number, True)
                return
            by_uid, offset = list(history.after((uid,), offset)) if uid is not None else [], history.last
            if not self._send(receiver, _without_stale(missed, by_uid)):
                return
        settle(number, False)

    def _send(self, receiver: Receiver, missed: list[Entry]) -> bool:
        """Send these as fast as the client takes them; False if it has gone."""
        for batch in _batches(missed, receiver.outbox.limit // 4):
            let_others_run()  # many clients may resume at once
            for entry in batch:
                self._router.replay(receiver, read(entry.delivery), entry)
            receiver.outbox.flush()
            if not receiver.outbox.wait(receiver.outbox.limit // 2):
                return False
        return True

    def _find(self, cursor: str, uid: str) -> tuple[ReplayPosition, bool] | None:
        """See `locate`. Another worker may have read the cursor's event, or its key, and this one not yet.

        What is not here though everything has come that was published before the client did, will not come. The cursor
        is then of another history or another member, or too old, or made up: all of these are answered alike, and wait
        for the same.
        """
        began, history, (pause, longest) = time.monotonic(), self._history, POLL_SECONDS
        while True:
            position = self._cursors.open(cursor, uid)
            if position is not None and history.holds(position):
                found = ReplayPosition(position.offset, history.era), True
                break
            is_old = position is not None and position.offset <= history.last
            waited = time.monotonic() - began
            if self._has_read_up_to(began) or (is_old and waited > OLD_SECONDS):
                found = self.latest(), False
                break
            if waited > READY_SECONDS:
                return None
            gevent.sleep(pause)
            pause = min(pause * 1.5, longest)
        return found if self.caught_up.is_set() else None

    def _recall_trades(self, receiver: Receiver, offset: int) -> None:
        """Remember the trades that the client was sent before it left: of a trade that comes by two exchanges, the
        second copy may follow."""
        now = time.monotonic()
        entries = self._history.up_to(receiver.keys, offset, KEPT)
        for number, entry in enumerate(entries, 1):
            if entry.received_at < entries[-1].received_at - KEPT_SECONDS or entry.delivery.exchange == ORDERBOOK:
                continue
            event = read(entry.delivery)
            if isinstance(event, Trade):
                receiver.is_new_trade(key_of(event), now)
            if number % BATCH == 0:
                let_others_run()


def _without_stale(entries: list[Entry], sent: list[Entry]) -> list[Entry]:
    """Return the entries without the orders of which a later state is among those that were sent."""
    latest: dict[bytes, int] = {}
    for entry in sent:
        if isinstance(event := read(entry.delivery), Order):
            latest[event.id] = entry.offset
    kept: list[Entry] = []
    for entry in entries:
        event = read(entry.delivery)
        if not isinstance(event, Order) or latest.get(event.id, -1) < entry.offset:
            kept.append(entry)
    return kept


def _batches(entries: list[Entry], most_bytes: int) -> Iterator[list[Entry]]:
    """As many at a time as an outbox has room for, at least one."""
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        if batch and (len(batch) == BATCH or size + entry.size > most_bytes):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += entry.size
    if batch:
        yield batch
