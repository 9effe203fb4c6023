"""`peatio-ws trace` in a process of its own, and the lines that it has printed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from tests.support.gateway import ROOT, WAIT
from tests.support.servers import wait_until


def _let_ctrl_c_work() -> None:
    """Undo what a shell does to background processes: the tests may be one."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
        self._process = subprocess.Popen(
            [sys.executable, "-m", "peatio_ws", "trace", "--json", *words],
            cwd=ROOT,
            env={**os.environ, "REDIS_URL": redis},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_let_ctrl_c_work,
        )
        self.lines: list[dict[str, Any]] = []
        self.raw: list[str] = []
        self._reader = threading.Thread(target=self._read)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for text in self._process.stdout:
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
            for pipe in (self._process.stdout, self._process.stderr):
                assert pipe is not None
                pipe.close()

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
        assert self._process.stderr is not None
        return self._process.returncode, self._process.stderr.read()
