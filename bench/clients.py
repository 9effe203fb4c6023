"""The traders, of whom there may be ten thousand: drives native/clients.c."""

from __future__ import annotations

import select
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bench import processes

WINDOW = 64
"""Connections that are being opened at a time."""


@dataclass(frozen=True)
class Received:
    """What came at the clients; times in microseconds from the publication, by one clock."""

    frames: int
    bytes: int
    p50: int
    p99: int
    worst: int
    took: int


class Clients:
    """A process with all connections of a scenario.

    Args:
        program: clients.c, compiled.
        tokens: a file of tokens, one a line.
        most: how many connections there will be.
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
        """Open and authenticate `count` more connections; the i-th of all as the member with the number i * `step`."""
        self._tell(f"open {port} {path} {count} {step} {WINDOW}")
        self._hear("opened", 120)

    def cpu_seconds(self) -> float:
        """CPU time of the clients so far."""
        return processes.cpu_seconds([self._process.pid])

    def expect(self, frames: int, seconds: float) -> None:
        """Count from now on; `received` answers when this many have come, or after this time."""
        self._tell(f"expect {frames} {seconds}")

    def received(self) -> Received:
        """See `expect`."""
        return Received(*map(int, self._hear("got", 300)))

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def _hear(self, word: str, seconds: float) -> list[str]:
        output = self._process.stdout
        assert output is not None
        if not select.select([output], [], [], seconds)[0]:
            raise TimeoutError(f"the clients did not say {word} within {seconds:g} s")
        words = output.readline().decode().split()
        if words[:1] != [word]:
            raise RuntimeError(f"the clients ended, or said {' '.join(words)!r} instead of {word}")
        return words[1:]
