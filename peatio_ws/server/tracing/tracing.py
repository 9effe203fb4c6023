"""The traces of a worker, and the connections that they show (docs/operations.md, "Tracing a connection").

Theory of operation. Without a trace, a connection costs one look at an empty dictionary when it opens, authenticates
and ends, and nothing else: the outbox and the decoder of a traced connection get another class (`transport/outbox.py`,
`transport/decoder.py`), the others have the usual one. With a trace, each traced connection has a `Watch`, which adds
lines to the bounded queue of each `Trace` that shows it; the trace's own greenlet publishes them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

import gevent
import structlog

from peatio_ws.cluster.commands import Answer, TraceCommand, WorkerId
from peatio_ws.cluster.tracing import messages
from peatio_ws.cluster.tracing.messages import MOST_TRACES
from peatio_ws.server.tracing.trace import LAST_SECONDS, Publish, Trace
from peatio_ws.server.tracing.watch import Budget, TracedConnection, Watch

log = structlog.get_logger("peatio_ws.server.tracing.tracing")

MOST_CONNECTIONS: Final = 100
"""Connections that a trace shows in one worker."""
LOOK_SECONDS: Final = 1.0
"""The interval at which connections are looked at for what no frame tells."""


class Tracing:
    """The traces of one worker.

    Args:
        publish: see `trace.Publish`.
    """

    def __init__(self, publish: Publish) -> None:
        self._publish = publish
        self._traces: dict[str, Trace] = {}  # by the question of their command
        self._watches: dict[TracedConnection, Watch] = {}
        self._budget = Budget()
        self._look_at = 0.0
        self._greenlets: list[gevent.Greenlet[..., Any]] = []

    def execute(
        self, command: TraceCommand, worker: WorkerId, connections: Iterable[TracedConnection]
    ) -> Iterator[Answer]:
        """Begin, continue or end a trace. Yield an answer where one begins.

        Args:
            connections: all of the worker.
        """
        trace = self._traces.get(command.question)
        if trace is not None:
            trace.renew(command.seconds)
        elif command.seconds and len(self._traces) >= MOST_TRACES:
            yield Answer(worker, 0, meant=False)
        elif command.seconds:
            trace = self._traces[command.question] = Trace(command, worker, self._publish, self._look)
            for connection in connections:
                if not connection.ws.outbox.closing and trace.target.matches(*_names(connection)):
                    self._show(trace, connection, "open")
            log.info("operator trace began", **_logged(trace), connections=trace.connections)
            self._greenlets = [one for one in self._greenlets if not one.ready()]
            self._greenlets.append(gevent.spawn(self._run, command.question, trace))
            yield Answer(worker, trace.connections)

    def stop(self) -> None:
        """End all traces before the worker exits."""
        for trace in self._traces.values():
            trace.renew(0)
        gevent.joinall(self._greenlets, timeout=2 * LAST_SECONDS)
        gevent.killall(self._greenlets, timeout=LAST_SECONDS)

    # ---- called for each connection

    def on_opened(self, connection: TracedConnection) -> None:
        """A connection has opened."""
        if self._traces:
            self._show_new(connection, "opened")

    def on_authenticated(self, connection: TracedConnection) -> None:
        """A connection's first token was accepted; see `identity`."""
        if self._traces:
            self._show_new(connection, "authenticated")

    def on_closed(self, connection: TracedConnection) -> None:
        """A connection has ended."""
        watch = self._watches.pop(connection, None)
        if watch is not None:
            with _harmless(connection):
                watch.report_closed()
            watch.end()
            for trace in watch.traces:
                trace.connections -= 1

    def on_refused(self, what: str, connection: str, address: str, reason: str, **more: Any) -> None:
        """A token or a request was refused.

        Args:
            what: `token` or `request`.
            connection: its id.
            reason: for people.
            more: fields of the line.
        """
        if not self._traces:
            return
        open_one = next((one for one in self._watches if one.ws.id == connection), None)
        uid = open_one.status.uid if open_one is not None else None
        line = messages.line(
            "refused", time.time(), connection=connection, what=what, reason=reason, address=address, **more
        )
        for trace in self._traces.values():
            if trace.target.matches(uid, address, connection):
                trace.add(line)

    # ----

    def _show_new(self, connection: TracedConnection, seen: str) -> None:
        with _harmless(connection):
            watch = self._watches.get(connection)
            for trace in self._traces.values():
                if (watch is None or trace not in watch.traces) and trace.target.matches(*_names(connection)):
                    self._show(trace, connection, seen)
            if seen == "authenticated" and connection in self._watches:
                self._watches[connection].look()

    def _show(self, trace: Trace, connection: TracedConnection, seen: str) -> None:
        """Show a connection in a trace from now on.

        Args:
            seen: see `Watch`.
        """
        if trace.connections >= MOST_CONNECTIONS:
            trace.omit(connections=1)
            return
        watch = self._watches.get(connection)
        if watch is None:
            watch = self._watches[connection] = Watch(connection, seen, self._budget)
        watch.introduce(trace, seen == "opened")
        trace.connections += 1

    def _look(self) -> None:
        """Look at the connections, at most once in `LOOK_SECONDS`."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        for watch in self._watches.values():
            watch.look()

    def _run(self, question: str, trace: Trace) -> None:
        try:
            trace.run()
        except Exception:
            log.exception("trace failed", **_logged(trace))
        finally:
            del self._traces[question]
            for connection, watch in list(self._watches.items()):
                if trace in watch.traces:
                    watch.traces.remove(trace)
                    if not watch.traces:
                        watch.end()
                        del self._watches[connection]
            log.info("operator trace ended", **_logged(trace), omitted=trace.omitted)
            trace.close()


@contextlib.contextmanager
def _harmless(connection: TracedConnection) -> Iterator[None]:
    """Log a failure of a trace instead of passing it to the connection."""
    try:
        yield
    except Exception:
        log.exception("trace failed", connection=connection.ws.id)


def _names(connection: TracedConnection) -> tuple[str | None, str, str]:
    identity = connection.identity
    return identity.uid if identity is not None else None, connection.address, connection.ws.id


def _logged(trace: Trace) -> dict[str, Any]:
    target = trace.target
    given = {"uid": target.uid, "address": target.address, "connection": target.connection}
    return {**{name: value for name, value in given.items() if value is not None}, "bodies": trace.bodies}
