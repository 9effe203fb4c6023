"""What a client that comes back has missed: where its cursor points, and everything since, then live events without a
seam (contract section 5).

Waits, in the client's own greenlet; never on behalf of others.
"""

from __future__ import annotations

import time
from typing import Final

import gevent
import gevent.event

from peatio_ws.events import Trade, read
from peatio_ws.history import History, Position, read_cursor
from peatio_ws.router import TRADES_REMEMBERED, Receiver, Router

READY_SECONDS: Final = 10.0
"""How long a client waits for a worker that reads its history back."""
AHEAD_SECONDS: Final = 5.0
"""How long it waits for a worker that has not read as far as another had."""
POLL_SECONDS: Final = 0.01
BATCH: Final = 64


class Replays:
    """Those of one worker's clients.

    Attributes:
        caught_up: set once the history is read back.
    """

    def __init__(self, history: History, router: Router) -> None:
        self._history, self._router = history, router
        self.caught_up = gevent.event.Event()

    def wait_until_ready(self) -> None:
        """Until events are live, for `READY_SECONDS` at most."""
        if not self.caught_up.is_set():
            self.caught_up.wait(READY_SECONDS)

    def locate(self, cursor: str | None) -> tuple[int, bool]:
        """The offset from which a client goes on, and whether nothing between its cursor and that is missing.

        Args:
            cursor: as the client sent it; None if it begins anew. May wait for what another worker has read already.
        """
        self.wait_until_ready()
        history = self._history
        if cursor is None:
            return history.last, True
        position = read_cursor(cursor)
        if position is None:
            return history.last, False
        self._wait_for(position)
        return (position.offset, True) if history.holds(position) else (history.last, False)

    def run(self, receiver: Receiver, offset: int) -> bool:
        """Send all that the receiver's member was sent after this offset, as fast as the client takes it.

        Returns:
            Whether it was everything; from its return on live events follow without a hole, if the receiver is admitted
            before anything else gets to run.
        """
        history, keys = self._history, receiver.keys
        self._recall_trades(receiver, offset)
        while history.has_all_after(offset):
            # Held here, so that they stay though the history forgets them meanwhile.
            missed, offset = list(history.after(keys, offset)), history.last
            if not missed:
                return True
            for start in range(0, len(missed), BATCH):
                for entry in missed[start : start + BATCH]:
                    self._router.replay(receiver, read(entry.delivery), entry)
                receiver.outbox.flush()
                gevent.sleep(1e-6)
                if not receiver.outbox.wait(receiver.outbox.limit // 2):
                    return True  # gone
        return False

    def _wait_for(self, position: Position) -> None:
        until = time.monotonic() + AHEAD_SECONDS
        while self._history.last < position.offset and time.monotonic() < until:
            if position.history != self._history.name:
                return
            gevent.sleep(POLL_SECONDS)

    def _recall_trades(self, receiver: Receiver, offset: int) -> None:
        """What the client was sent before it went away: of a trade that came by two exchanges the second may follow."""
        for entry in self._history.up_to(receiver.keys, offset, TRADES_REMEMBERED):
            event = read(entry.delivery)
            if isinstance(event, Trade):
                receiver.is_new_trade(event.id)
