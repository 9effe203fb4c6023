"""Thousands of clients in one process: runs and controls native/clients.c."""

from __future__ import annotations

import select
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bench import processes

WINDOW = 64
"""Number of connections that are opened concurrently."""


@dataclass(frozen=True)
class Received:
    """What the clients received since `Clients.expect`.

    Attributes:
        bytes: of the messages, without frame headers.
        p50, p99, worst: latencies from publication to arrival, in microseconds.
        took: microseconds since `expect`.
    """

    frames: int
    bytes: int
    p50: int
    p99: int
    worst: int
    took: int


class Clients:
    """A process that holds many connections to a server.

    Args:
        program: the compiled clients.c.
        tokens: a file of tokens, one a line.
        most: the maximum number of connections.
        tls: whether they use TLS.
    """

    def __init__(self, program: Path, tokens: Path, most: int, tls: bool = False) -> None:
        command = [program, tokens, str(most), *(["tls"] if tls else [])]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        processes.end(self._process)

    def open(self, port: int, path: str, count: int, step: int) -> None:
        """Open and authenticate `count` more connections. The i-th connection of the process uses token i * `step`."""
        self._send_command(f"open {port} {path} {count} {step} {WINDOW}")
        self._read_answer("opened", 120)

    def cpu_seconds(self) -> float:
        """Return the CPU time of the clients so far."""
        return processes.cpu_seconds([self._process.pid])

    def expect(self, frames: int, seconds: float) -> None:
        """Count from now on. `received` returns after this many frames or this many seconds, whichever comes first."""
        self._send_command(f"expect {frames} {seconds}")

    def received(self) -> Received:
        """Wait for the end of `expect`, and return what has arrived."""
        return Received(*map(int, self._read_answer("got", 300)))

    def _send_command(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def _read_answer(self, word: str, seconds: float) -> list[str]:
        output = self._process.stdout
        assert output is not None
        if not select.select([output], [], [], seconds)[0]:
            raise TimeoutError(f"no {word!r} from the clients within {seconds:g} s")
        words = output.readline().decode().split()
        if words[:1] != [word]:
            raise RuntimeError(f"the clients ended, or answered {' '.join(words)!r} instead of {word!r}")
        return words[1:]
