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
from peatio_ws.routing.replay import ReplayPosition
from peatio_ws.server.context import WorkerContext


class Resumption:
    """Where one connection is in its member's history.

    Args:
        send: puts a text into the connection's outbox.

    Attributes:
        pending: whether the missed events are promised and not yet sent.
    """

    __slots__ = ("_context", "_cursor", "_cursor_sent_at", "_receiver", "_send", "_start", "pending")

    def __init__(self, context: WorkerContext, receiver: Receiver, send: Callable[[bytes], None]) -> None:
        self._context, self._receiver, self._send = context, receiver, send
        self._start: ReplayPosition | None = None  # every event after it was sent on this connection, or will be
        self._cursor: str | None = None  # the client's, while it is pending
        self._cursor_sent_at = 0.0  # monotonic time at which the client last got a cursor that was not an event's
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
        context, receiver = self._context, self._receiver
        if context.settings.history == "off":
            self._answer(payload, self._newest_cursor(), False, echo)
            context.router.admit(receiver)
            return True
        if receiver.admitted:
            return self._begin_live(payload, cursor, echo)
        cursor = cursor or self._cursor
        located = context.ingest.replays.locate(cursor, self._uid)  # may wait
        if located is None:
            return False
        self._start, complete = located
        if receiver.pending_member_id is not None:
            self._start, complete = receiver.pending_member_id.start_from(*located, cursor)
        if cursor is not None:
            metrics.replays.labels("complete" if complete else "incomplete").inc()
        receiver.resumes = True
        at = cursor if complete and cursor is not None else self._newest_cursor()
        self._answer(payload, at, complete, echo)
        self.pending, self._cursor = True, cursor if complete else None
        if replays_now or self._cursor is None:
            self.replay()
        # Else there is nothing to send yet: its private streams come with the next message.
        return True

    def _begin_live(self, payload: bytes, cursor: str | None, echo: bytes) -> bool:
        """The client gets its events already: all that its cursor misses was sent, or nothing is promised."""
        replays, receiver = self._context.ingest.replays, self._receiver
        located = replays.locate(None, self._uid)  # may wait
        if located is None:
            return False
        complete = cursor is None or (self._start is not None and replays.follows(cursor, self._uid, self._start))
        if receiver.pending_member_id is not None:
            _, complete = receiver.pending_member_id.start_from(located[0], complete, None)
        if self._start is None:
            self._start = located[0]
        receiver.resumes = True
        self._answer(payload, self._newest_cursor(), complete, echo)
        return True

    def replay(self) -> None:
        """Send what was missed, if that is still to do; from then on the client gets live events. Waits as long as the
        client takes."""
        context = self._context
        if not self.pending or self._start is None:
            return
        complete = context.ingest.replays.run(self._receiver, self._start)
        self.pending, self._cursor = False, None
        self._cursor_sent_at = time.monotonic()
        if not complete:
            metrics.replays.labels("cut").inc()
            self._send(encoding.resume(self._newest_cursor(), complete=False))
        context.router.admit(self._receiver)

    def tick(self, now: float) -> None:
        """Give a client that resumes a fresh cursor now and then: its last event may be longer ago than history goes
        back. Called about once a second with the monotonic time."""
        if now - self._cursor_sent_at > self._context.settings.resume_seconds / 3:
            self._cursor_sent_at = now
            self.send_cursor()

    def send_cursor(self) -> None:
        """Give a client that resumes a cursor as of now, or the held one, unless there may be a gap to tell."""
        context, receiver = self._context, self._receiver
        if receiver.resumes and not self.pending and context.ingest.replays.caught_up.is_set():
            self._send(encoding.resume(context.router.cursor(receiver), complete=True))

    @property
    def _uid(self) -> str:
        return self._receiver.uid or ""

    def _newest_cursor(self) -> str:
        return self._context.ingest.cursors.at(self._uid)

    def _answer(self, payload: bytes, cursor: str, complete: bool, echo: bytes) -> None:
        self._send(encoding.with_echo(encoding.resumed(payload, cursor, complete), echo))
        self._cursor_sent_at = time.monotonic()
