"""How a client that resumes gets from its cursor to live events (contract section 5).

The states and their order are in `protocol/connection_state.py`: a connection is PENDING when the missed events are
guaranteed but the client has no private stream to receive them on. What PENDING needs to know, the client's cursor and
the position from which to replay, is held here. Runs in the client's own greenlet. Knows no history
(`routing/replay.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from peatio_ws.monitoring import metrics
from peatio_ws.protocol import encoding
from peatio_ws.protocol.actions import Resume
from peatio_ws.protocol.connection_state import ConnectionInput, ConnectionState
from peatio_ws.routing.history import ReplayPosition
from peatio_ws.routing.receiver import Receiver
from peatio_ws.server.connections.marked_streams import begin, send
from peatio_ws.server.context import WorkerContext


class Resumption:
    """A client's position in the history of its member.

    Args:
        send: puts a text into the connection's outbox.
    """

    __slots__ = ("_context", "_cursor", "_cursor_sent_at", "_receiver", "_send", "_start")

    def __init__(self, context: WorkerContext, receiver: Receiver, send: Callable[[bytes], None]) -> None:
        self._context, self._receiver, self._send = context, receiver, send
        # Every event after this position was sent on this connection, or will be.
        self._start: ReplayPosition | None = None
        self._cursor: str | None = None  # the client's, while PENDING
        self._cursor_sent_at = 0.0  # monotonic time of the last cursor that did not come with an event

    def begin(self, resume: Resume, replays_now: bool) -> bool:
        """Send the reply with a cursor, then the missed events, then live events. May wait.

        Args:
            resume: its cursor is None to begin, or to continue with the cursor that is pending.
            replays_now: whether the client has a stream for its private events.

        Returns:
            Whether the client could be answered; False if it has to reconnect.
        """
        context, receiver = self._context, self._receiver
        if context.settings.history == "off":
            self._begin_without_history(resume)
            return True
        if receiver.state is ConnectionState.LIVE:
            return self._begin_live(resume)
        cursor = resume.cursor or self._cursor
        located = context.replays.locate(cursor, self._uid)  # may wait
        if located is None:
            return False
        self._start, complete = located
        if receiver.pending_member_id is not None:
            self._start, complete = receiver.pending_member_id.start_from(*located, cursor)
        if cursor is not None:
            metrics.replays.labels("complete" if complete else "incomplete").inc()
        receiver.resumes = True
        self._answer(resume, cursor if complete and cursor is not None else self._newest_cursor(), complete)
        receiver.advance(ConnectionInput.RESUME)
        self._cursor = cursor if complete else None
        if replays_now or self._cursor is None:
            self.replay()
        # Else the replay waits for the client's first private stream.
        return True

    def _begin_without_history(self, resume: Resume) -> None:
        """Guarantee nothing. The client receives its events from now on."""
        is_live = self._receiver.state is ConnectionState.LIVE
        if not is_live:
            self._context.ingest.wait_until_live()
        self._answer(resume, self._newest_cursor(), False)
        if not is_live:
            self._context.router.go_live(self._receiver)

    def _begin_live(self, resume: Resume) -> bool:
        """Answer a client that receives its events already. Nothing is replayed: either all events after its cursor
        were sent on this connection, or the answer is not complete."""
        replays, receiver, cursor = self._context.replays, self._receiver, resume.cursor
        located = replays.locate(None, self._uid)  # may wait
        if located is None:
            return False
        complete = cursor is None or (self._start is not None and replays.follows(cursor, self._uid, self._start))
        if receiver.pending_member_id is not None:
            _, complete = receiver.pending_member_id.start_from(located[0], complete, None)
        if self._start is None:
            self._start = located[0]
        receiver.resumes = True
        receiver.advance(ConnectionInput.RESUME)
        self._answer(resume, self._newest_cursor(), complete)
        return True

    def replay(self) -> None:
        """Send the missed events, if they are guaranteed, then live events. Waits as long as the client needs."""
        context, receiver = self._context, self._receiver
        if receiver.state is not ConnectionState.PENDING:
            return
        assert self._start is not None
        receiver.advance(ConnectionInput.REPLAY)
        complete = context.replays.run(receiver, self._start)
        self._cursor = None
        self._cursor_sent_at = time.monotonic()
        if not complete:
            metrics.replays.labels("cut").inc()
            self._send(encoding.resume(self._newest_cursor(), complete=False))
        context.router.go_live(receiver)

    def restart(self) -> None:
        """End the guarantee for events before this moment: a live client received none by member id until now."""
        if self._receiver.state is ConnectionState.LIVE:
            self._start = self._context.replays.latest()

    def tick(self, now: float) -> None:
        """Send a fresh cursor now and then: the client's last event may be older than the history.

        Called about once a second with the monotonic time.
        """
        if now - self._cursor_sent_at > self._context.settings.resume_seconds / 3:
            self._cursor_sent_at = now
            self.send_cursor()

    def send_cursor(self) -> None:
        """Send a cursor of this moment, or the held one, to a live client. Send none if there may be a gap."""
        context, receiver = self._context, self._receiver
        is_live = receiver.resumes and receiver.state is ConnectionState.LIVE
        if is_live and context.replays.caught_up.is_set():
            self._send(encoding.resume(context.router.cursor(receiver), complete=True))

    @property
    def _uid(self) -> str:
        return self._receiver.uid or ""

    def _newest_cursor(self) -> str:
        return self._context.cursors.at(self._uid)

    def _answer(self, resume: Resume, cursor: str, complete: bool) -> None:
        payload, missed = resume.payload, b""
        if resume.follow is not None:
            payload, missed = begin(self._context.router, self._receiver.outbox, resume.follow)
        self._send(encoding.with_echo(encoding.resumed(payload, cursor, complete), resume.echo))
        send(self._receiver.outbox, missed)
        self._cursor_sent_at = time.monotonic()
