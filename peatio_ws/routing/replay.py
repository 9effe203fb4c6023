"""Events that a returning client has missed: where its cursor points, and everything since, then live events without
a hole or a repetition (contract section 5).

Waits, in the client's own greenlet. Never delays other clients.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Final

import gevent
import gevent.event

from peatio_ws.concurrency.yielding import let_others_run
from peatio_ws.protocol.deliveries import read
from peatio_ws.protocol.exchanges import ORDERBOOK
from peatio_ws.protocol.private_events.base import PrivateEvent
from peatio_ws.routing.cursor import Cursors
from peatio_ws.routing.history import Entry, History, ReplayPosition
from peatio_ws.routing.receiver import Receiver
from peatio_ws.routing.router import Router
from peatio_ws.routing.seen_trades import KEPT, KEPT_SECONDS

READY_SECONDS: Final = 10.0
"""How long a client waits for a worker that reads its history back, or has not read as far as another worker."""
RETURN_SECONDS: Final = 3
"""Clients that are asked to come back are spread over at least this time."""
OLD_SECONDS: Final = 2.0
"""How long a client waits if its cursor is from before the history begins and the broker does not answer."""
POLL_SECONDS: Final = (0.01, 0.1)
"""The pause between two looks at the history: the first, and the longest."""
BATCH: Final = 64
"""Events sent at a time; fewer if they are large."""


def reconnect_reason(seconds: int = RETURN_SECONDS) -> str:
    """Return the reason of a close frame (1012) that asks the client to come back within this time."""
    return f"restart; retry after {random.randint(1, seconds)}"


class Replays:
    """Replays for the clients of one worker.

    Args:
        cursors: of the history.
        has_read_up_to: whether the worker has read everything that was published up to a monotonic time. If that is not
            known, the call starts to find out. Never waits.

    Attributes:
        caught_up: set unless the history is being read back.
    """

    def __init__(
        self, history: History, cursors: Cursors, router: Router, has_read_up_to: Callable[[float], bool]
    ) -> None:
        self._history, self._cursors, self._router = history, cursors, router
        self._has_read_up_to = has_read_up_to
        self.caught_up = gevent.event.Event()

    def locate(self, cursor: str | None, uid: str) -> tuple[ReplayPosition, bool] | None:
        """Return the position from which a client continues, and whether nothing is missing between it and the cursor.
        Return None if that cannot be known for now: then nothing is guaranteed, and the client should come again.

        Args:
            cursor: as the client sent it; None if it has none. May wait for an event that another worker has read.
            uid: of the client's member.
        """
        if not self.caught_up.wait(READY_SECONDS):
            return None
        return (self.latest(), True) if cursor is None else self._find(cursor, uid)

    def follows(self, cursor: str, uid: str, start: ReplayPosition) -> bool:
        """Return whether a member's cursor points to a position or behind it, in the same stream. Never waits.

        For a position in an earlier era: return whether the cursor is of this history. Clients that received events in
        that era were notified of the gap.
        """
        position, history = self._cursors.open(cursor, uid), self._history
        if position is None:
            return False
        if start.era != history.era:
            return True
        # The stream may have been deleted and declared again under its name: the cursor's event has to be here, or may
        # have been removed since.
        is_known = history.holds(position) or not history.is_complete_after(position.offset)
        return is_known and position.offset >= start.offset

    def latest(self) -> ReplayPosition:
        """Return the position of the newest event."""
        return ReplayPosition(self._history.last, self._history.era)

    def run(self, receiver: Receiver, start: ReplayPosition) -> bool:
        """Send all events of the receiver's member after a position, as fast as the client reads them.

        Returns:
            Whether nothing is missing. Live events follow without a hole if the caller admits the receiver before any
            other greenlet runs.
        """
        history, keys = self._history, receiver.keys
        offset, era = start
        self._recall_trades(receiver, offset)
        while history.era == era and history.is_complete_after(offset):
            # The list keeps the events although the history may forget them meanwhile.
            missed, offset = list(history.after(keys, offset)), history.last
            if not missed:
                return True
            if not self._send(receiver, missed):
                return True
        return False

    def catch_up(
        self, receiver: Receiver, number: int, start: ReplayPosition, settle: Callable[[int, bool], None]
    ) -> None:
        """Send the events after a position that name the receiver's member by this member id only. The receiver gets
        those that name its uid already.

        An order is left out if a later state of it has been sent because that event named the uid.

        Args:
            settle: is called with the member id and whether nothing is missing, before any other greenlet runs.
        """
        history, uid = self._history, receiver.uid
        receiver.member_id = number
        offset, era = start
        while history.era == era and history.is_complete_after(offset):
            missed = [entry for entry in history.after((number,), offset) if uid not in entry.owners]
            if not missed:
                settle(number, True)
                return
            sent_live, offset = _LatestStates(history, uid, offset), history.last
            if not self._send(receiver, missed, sent_live.without_stale):
                return
        settle(number, False)

    def _send(
        self, receiver: Receiver, missed: list[Entry], choose: Callable[[list[Entry]], list[Entry]] = list
    ) -> bool:
        """Send events as fast as the client reads them. Return False if it has disconnected.

        Args:
            choose: returns the events of a batch to send; called just before.
        """
        for batch in _batches(missed, receiver.outbox.limit // 4):
            let_others_run()  # many clients may resume at once
            for entry in choose(batch):
                self._router.replay(receiver, _event_of(entry), entry)
            receiver.outbox.flush()
            if not receiver.outbox.wait(receiver.outbox.limit // 2):
                return False
        return True

    def _find(self, cursor: str, uid: str) -> tuple[ReplayPosition, bool] | None:
        """See `locate`. Another worker may have read the cursor's event, or its key, before this one.

        If the event is not here although everything has come that was published before the client connected, it will
        not come. The cursor is then of another history or member, or too old, or forged. All of these get the same
        answer after the same wait.
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
        """Remember the trades that the client received before it left. If a trade comes from two exchanges, its second
        copy may follow."""
        entries = self._history.up_to(receiver.keys, offset, KEPT)
        for number, entry in enumerate(entries, 1):
            if entry.received_at < entries[-1].received_at - KEPT_SECONDS or entry.delivery.exchange == ORDERBOOK:
                continue
            self._router.remember_trade(receiver, _event_of(entry))
            if number % BATCH == 0:
                let_others_run()


def _event_of(entry: Entry) -> PrivateEvent:
    event = read(entry.delivery)
    assert isinstance(event, PrivateEvent)  # the history has no others for an owner
    return event


class _LatestStates:
    """The latest states of objects that were sent live, to the last moment: more are sent while a client reads.

    Args:
        uid: of the member, whose events are sent live; None if none are.
        offset: of the last event before.
    """

    def __init__(self, history: History, uid: str | None, offset: int) -> None:
        self._history, self._owners, self._seen = history, () if uid is None else (uid,), offset
        self._latest: dict[tuple[str, bytes] | None, int] = {}

    def without_stale(self, entries: list[Entry]) -> list[Entry]:
        """Return the entries without the states of objects of which a later state was sent."""
        latest = self._latest
        for entry in self._history.after(self._owners, self._seen):
            latest[_object_of(entry)] = self._seen = entry.offset
        latest.pop(None, None)
        return [entry for entry in entries if latest.get(_object_of(entry), -1) < entry.offset]


def _object_of(entry: Entry) -> tuple[str, bytes] | None:
    """Return the object whose state an event is, for example an order; None if it is not a state."""
    event = _event_of(entry)
    return None if event.state_of is None else (type(event).__name__, event.state_of)


def _batches(entries: list[Entry], most_bytes: int) -> Iterator[list[Entry]]:
    """Split entries into batches that fit into an outbox, of one entry at least."""
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
