"""One traced connection: turns what its outbox and its decoder see into lines of the traces that show it.

Nothing here waits, and no failure here reaches the connection. Knows neither Redis nor which connections are traced
(`tracing.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import structlog
from websockets.frames import Opcode

from peatio_ws.auth.identity import Identity
from peatio_ws.cluster.tracing import messages
from peatio_ws.monitoring.counters import ConnectionStatus
from peatio_ws.server.tracing import descriptions
from peatio_ws.server.tracing.descriptions import SentFrame
from peatio_ws.server.tracing.trace import LINE_BYTES, Trace
from peatio_ws.transport import decoder, outbox
from peatio_ws.transport.websocket import WebSocket

log = structlog.get_logger("peatio_ws.server.tracing.watch")

BUSY_SECONDS: Final = 0.05
"""CPU time for all traced connections of a worker in a second. Above it, lines are only counted."""


class TracedConnection(Protocol):
    """A connection, of either kind; see `registry.RegisteredConnection`."""

    ws: WebSocket
    address: str

    @property
    def status(self) -> ConnectionStatus: ...

    @property
    def identity(self) -> Identity | None: ...

    @property
    def streams(self) -> Sequence[str]: ...


class Budget:
    """The CPU time that traces may use, in each second."""

    def __init__(self) -> None:
        self._second, self._used = 0, 0.0

    @property
    def spent(self) -> bool:
        """Whether nothing is left for this second."""
        if self._second != (now := int(time.monotonic())):
            self._second, self._used = now, 0.0
        return self._used > BUSY_SECONDS

    def use(self, seconds: float) -> None:
        """Count CPU time."""
        self._used += seconds


class Watch:
    """A connection that at least one trace shows.

    Args:
        seen: how it came to be traced: `open` before that; `opened` just now; `authenticated` just now.
        budget: of the worker.
    """

    def __init__(self, connection: TracedConnection, seen: str, budget: Budget) -> None:
        self.connection, self.traces = connection, list[Trace]()
        self._budget = budget
        # What the traces know; anything else is reported.
        self._identity = _key(connection.identity) if seen != "authenticated" else None
        self._streams = list(connection.streams) if seen != "opened" else []
        self._waiting = connection.ws.outbox.size
        self._names = descriptions.event_names(connection.status.protocol, self._streams)
        self._pinged = 0.0  # monotonic time; 0 if the client has answered
        self._closing = False  # the close frame is on its way
        outbox.watch(connection.ws.outbox, self._guarded(self._on_sent, descriptions.count_frames))
        decoder.watch(connection.ws.inbox.decoder, self._guarded(self._on_received))

    def end(self) -> None:
        """Leave the connection as it was."""
        outbox.unwatch(self.connection.ws.outbox)
        decoder.unwatch(self.connection.ws.inbox.decoder)

    def say(self, kind: str, /, **fields: Any) -> None:
        """Add a line about the connection to all its traces."""
        line = messages.line(kind, time.time(), connection=self.connection.ws.id, **fields)
        for trace in self.traces:
            trace.add(line)

    def look(self) -> None:
        """Report what has changed without a frame: streams of a handler, the identity, what waits."""
        self._report_changes()
        size = self.connection.ws.outbox.size
        if size != self._waiting:
            self._waiting = size
            self.say("waiting", waiting=size)

    def report_closed(self) -> None:
        """Report the end of the connection."""
        ws, status = self.connection.ws, self.connection.status
        ending = ws.ending
        self.say(
            "closed",
            code=ending.code,
            reason=ending.reason,
            by=ending.by,
            uid=status.uid,
            address=self.connection.address,
            seconds=round(time.monotonic() - ws.opened, 3),
            messages=ws.received,
            bytes_received=ws.inbox.received_bytes,
            bytes_sent=ws.outbox.sent,
        )

    def introduce(self, trace: Trace, opened: bool) -> None:
        """Show the connection in another trace, which says first what it is.

        Args:
            opened: whether it has opened just now.
        """
        ws, status, now = self.connection.ws, self.connection.status, time.time()
        fields: dict[str, Any] = {"uid": status.uid, "address": self.connection.address, "protocol": status.protocol}
        if not opened:
            since = messages.iso_time(now - (time.monotonic() - ws.opened))
            fields |= {"since": since, "streams": list(self._streams), "waiting": ws.outbox.size}
        trace.add(messages.line("opened" if opened else "connection", now, connection=ws.id, **fields))
        self.traces.append(trace)

    def _guarded(self, function: Callable[..., None], lines: Callable[..., int] | None = None) -> Callable[..., None]:
        """Return a function that counts its CPU time, never raises, and does nothing once the budget is spent.

        Args:
            lines: returns how many lines are then missing; by default one.
        """

        def call(*args: Any) -> None:
            if self._budget.spent or all(trace.full for trace in self.traces):
                for trace in self.traces:
                    trace.omit(lines(*args) if lines is not None else 1)
                return
            began = time.thread_time()
            try:
                function(*args)
            except Exception:  # a bug here must not harm the connection
                log.exception("trace failed", connection=self.connection.ws.id)
                self.end()
            self._budget.use(time.thread_time() - began)

        return call

    def _report_changes(self) -> None:
        connection = self.connection
        if connection.ws.outbox.closing or connection.ws.inbox.decoder.close_rcvd is not None:
            return  # at the end, handlers' connections leave their streams
        identity = connection.identity
        if identity is not None and _key(identity) != self._identity:
            self._identity = _key(identity)
            self.say("authenticated", uid=identity.uid)
        streams, before = connection.streams, self._streams
        if before != streams:
            self._streams = now = list(streams)
            self._names = descriptions.event_names(connection.status.protocol, now)
            if left := [name for name in before if name not in set(now)]:
                self.say("unsubscribed", streams=left, total=len(now))
            if new := [name for name in now if name not in set(before)]:
                self.say("subscribed", streams=new, total=len(now))

    # ---- what goes through the connection

    def _on_sent(self, data: bytes) -> None:
        if self._closing:
            return  # too much for the outbox, which has closed and dropped it
        self._report_changes()
        self._waiting = self.connection.ws.outbox.size
        for frame in descriptions.frames_in(data):
            match frame.opcode:
                case Opcode.PING:
                    self._pinged = time.monotonic()
                    self.say("ping", by="gateway", waiting=self._waiting)
                case Opcode.PONG:
                    self.say("pong", by="gateway", waiting=self._waiting)
                case Opcode.CLOSE:
                    self._closing = True
                case _:
                    self._on_message_sent(frame)

    def _on_message_sent(self, frame: SentFrame) -> None:
        kind, fields = descriptions.sent(frame, self._names)
        if kind == "delivered" and self.connection.status.replaying:
            fields["replayed"] = True
        text = frame.payload if frame.opcode == Opcode.TEXT else None
        self._say_with_body(kind, {**fields, "waiting": self._waiting}, text)
        if kind == "sent" and (resumed := descriptions.resumed(frame.payload)):
            self.say("resumed", **resumed)

    def _on_received(self, opcode: Opcode, message: str | bytes) -> None:
        if opcode is Opcode.PING:
            self.say("ping", by="client")
        elif opcode is Opcode.PONG:
            took = {"milliseconds": round((time.monotonic() - self._pinged) * 1000, 1)} if self._pinged else {}
            self._pinged = 0.0
            self.say("pong", by="client", **took)
        else:
            what, text = descriptions.received(message)
            size = len(message.encode() if isinstance(message, str) else message)
            self._say_with_body("received", {"what": what, "bytes": size}, text)

    def _say_with_body(self, kind: str, fields: dict[str, Any], text: str | bytes | None) -> None:
        """Add a line, with the text for the traces that show bodies."""
        line = messages.line(kind, time.time(), connection=self.connection.ws.id, **fields)
        whole, size = line, LINE_BYTES
        if text is not None and any(trace.bodies for trace in self.traces):
            whole = {**line, **descriptions.body(text)}
            size += len(whole["body"])
        for trace in self.traces:
            if trace.bodies:
                trace.add(whole, size)
            else:
                trace.add(line)


def _key(identity: Identity | None) -> tuple[str, str, float] | None:
    """Return what distinguishes two tokens."""
    return None if identity is None else (identity.uid, identity.jti, identity.expires)
