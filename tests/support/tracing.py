"""`peatio-ws trace` in a process of its own, and the lines that it has printed."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from types import TracebackType
from typing import IO, Any, Self

from tests.support import fork_server
from tests.support.gateway import WAIT
from tests.support.servers import wait_until


def _pipe() -> tuple[IO[str], IO[str]]:
    """Return both ends of a pipe."""
    read, write = os.pipe()
    return open(read), open(write, "w")


class Tracer:
    """A trace, from its first line to the end of the process.

    Args:
        redis: URL.
        words: arguments of the command.

    Attributes:
        lines: what was printed so far, decoded.
        raw: the same, as it came.
    """

    def __init__(self, redis: str, *words: str) -> None:
        command = ["tests.support.interruptible", "peatio_ws", "trace", "--json", *words]
        (self._output, stdout), (self._errors, stderr) = _pipe(), _pipe()
        with stdout, stderr:
            environ = {**os.environ, "REDIS_URL": redis}
            self._process = fork_server.shared("command").start(command, environ, stdout, stderr)
        self.lines: list[dict[str, Any]] = []
        self.raw: list[str] = []
        self._reader = threading.Thread(target=self._read)

    def _read(self) -> None:
        for text in self._output:
            self.raw.append(text)
            self.lines.append(json.loads(text))

    def __enter__(self) -> Self:
        self._reader.start()
        wait_until(lambda: bool(self.lines), "the trace has begun", WAIT)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(WAIT)
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join()
            self._output.close()
            self._errors.close()

    def of(self, kind: str, connection: str | None = None, **fields: Any) -> list[dict[str, Any]]:
        """Return the lines of a kind, and of a connection, with these fields."""
        return [
            line
            for line in list(self.lines)
            if line["kind"] == kind
            and connection in (None, line.get("connection"))
            and fields.items() <= {name: line.get(name) for name in fields}.items()
        ]

    def until(self, check: Callable[[], object], what: str, seconds: float = WAIT) -> None:
        """Wait until the lines show something."""
        try:
            wait_until(lambda: bool(check()), what, seconds)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; the trace: {''.join(self.raw[-40:])}") from None

    def kill(self) -> None:
        """End the process as the kernel does when memory is short: it can do nothing more."""
        self._process.kill()
        self._process.wait(WAIT)

    def interrupt(self) -> tuple[int, str]:
        """End the process as Ctrl-C does. Return its status, and what it printed on standard error."""
        self._process.send_signal(signal.SIGINT)
        return self.ended()

    def ended(self, seconds: float = WAIT) -> tuple[int, str]:
        """Wait until the process ends. Return its status, and what it printed on standard error."""
        self._process.wait(seconds)
        self._reader.join(seconds)
        return self._process.wait(), self._errors.read()
