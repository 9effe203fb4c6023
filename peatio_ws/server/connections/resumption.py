"""One connection's way from its cursor to live events (contract section 5).

    not resuming ── resume ──▶ pending ── first private stream ──▶ replayed ──▶ live
                       └──────── nothing to replay ─────────────────────────────▲

A connection is *pending* when the gateway has promised the missed events but the client has no private stream to get
them on. Only a replay, or a cursor that promises nothing, ends this state. Whatever else the client sends meanwhile, no
event is skipped. Runs in the client's own greenlet. Does not know what a history is made of (`routing/replay.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from peatio_ws.monitoring import metrics
from peatio_ws.protocol import encoding
from peatio_ws.routing.receiver import Receiver
from peatio_ws.routing.replay import Place
from peatio_ws.server.context import House


class Resumption:
    """Where one connection is in its member's history.

    Args:
        send: puts a text into the connection's outbox.

    Attributes:
        pending: whether the missed events are promised and not yet sent.
    """

    __slots__ = ("_cursor", "_house", "_receiver", "_send", "_start", "_told", "pending")

    def __init__(self, house: House, receiver: Receiver, send: Callable[[bytes], None]) -> None:
        self._house, self._receiver, self._send = house, receiver, send
        self._start: Place | None = None  # every event after it was sent on this connection, or will be
        self._cursor: str | None = None  # the client's, while it is pending
        self._told = 0.0  # monotonic time at which the client last got a cursor that was not an event's
        self.pending = False

    def begin(self, payload: bytes, cursor: str | None, replays_now: bool, echo: bytes = b"") -> bool:
        """Answer a `Resume`: where the client is, then what it missed, then live events. May wait.

        Args:
            payload: the success frame.
            cursor: the client's; None to begin, or to go on with a cursor that is pending.
            replays_now: whether the client is ready for its private events.
            echo: see `encoding.with_echo`.

        Returns:
            Whether it could be answered; False if the client has to come again.
        """
        house, receiver = self._house, self._receiver
        if house.settings.history == "off":
            self._answer(payload, self._newest(), False, echo)
            house.router.admit(receiver)
            return True
        if receiver.admitted:
            return self._begin_live(payload, cursor, echo)
        cursor = cursor or self._cursor
        located = house.intake.replays.locate(cursor, self._uid)  # may wait
        if located is None:
            return False
        self._start, complete = located
        if receiver.late is not None:
            self._start, complete = receiver.late.start_from(*located, cursor)
        if cursor is not None:
            metrics.replays.labels("complete" if complete else "incomplete").inc()
        receiver.resumes = True
        at = cursor if complete and cursor is not None else self._newest()
        self._answer(payload, at, complete, echo)
        self.pending, self._cursor = True, cursor if complete else None
        if replays_now or self._cursor is None:
            self.replay()
        # Else there is nothing to send yet: its private streams come with the next message.
        return True

    def _begin_live(self, payload: bytes, cursor: str | None, echo: bytes) -> bool:
        """The client gets its events already: all that its cursor misses was sent, or nothing is promised."""
        replays, receiver = self._house.intake.replays, self._receiver
        located = replays.locate(None, self._uid)  # may wait
        if located is None:
            return False
        complete = cursor is None or (self._start is not None and replays.follows(cursor, self._uid, self._start))
        if receiver.late is not None:
            _, complete = receiver.late.start_from(located[0], complete, None)
        if self._start is None:
            self._start = located[0]
        receiver.resumes = True
        self._answer(payload, self._newest(), complete, echo)
        return True

    def replay(self) -> None:
        """Send what was missed, if that is still to do; from then on the client gets live events. Waits as long as the
        client takes."""
        house = self._house
        if not self.pending or self._start is None:
            return
        complete = house.intake.replays.run(self._receiver, self._start)
        self.pending, self._cursor = False, None
        self._told = time.monotonic()
        if not complete:
            metrics.replays.labels("cut").inc()
            self._send(encoding.resume(self._newest(), complete=False))
        house.router.admit(self._receiver)

    def tick(self, now: float) -> None:
        """Give a client that resumes a fresh cursor now and then: its last event may be longer ago than history goes
        back. Called about once a second with the monotonic time."""
        if now - self._told > self._house.settings.resume_seconds / 3:
            self._told = now
            self.tell_place()

    def tell_place(self) -> None:
        """Give a client that resumes a cursor as of now, or the held one, unless there may be a gap to tell."""
        house, receiver = self._house, self._receiver
        if receiver.resumes and not self.pending and house.intake.replays.caught_up.is_set():
            self._send(encoding.resume(house.router.cursor(receiver), complete=True))

    @property
    def _uid(self) -> str:
        return self._receiver.uid or ""

    def _newest(self) -> str:
        return self._house.intake.cursors.at(self._uid)

    def _answer(self, payload: bytes, cursor: str, complete: bool, echo: bytes) -> None:
        self._send(encoding.with_echo(encoding.resumed(payload, cursor, complete), echo))
        self._told = time.monotonic()
