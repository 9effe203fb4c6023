"""Find a process's descendants, read CPU time and memory from /proc, and kill a process group."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

_TICK = 1 / os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """Return the ids of a process and its living descendants."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(folder.name))
    pids = [pid]
    for parent in pids:
        pids += children.get(parent, [])
    return pids


def cpu_seconds(pids: list[int]) -> float:
    """Return the CPU time, user and system, that these processes have used. A process that has ended counts as 0.

    Reads schedstat of each thread, in nanoseconds. If the kernel does not have it, reads utime + stime from
    /proc/PID/stat, in clock ticks (usually 10 ms).
    """
    return sum(_precise_cpu(pid) or _coarse_cpu(pid) for pid in pids if Path(f"/proc/{pid}").exists())


def _coarse_cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK


def _precise_cpu(pid: int) -> float:
    def nanoseconds() -> Iterator[int]:
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                yield int((task / "schedstat").read_text().split()[0])

    return sum(nanoseconds()) / 1e9


def busy_seconds() -> float:
    """Return the CPU seconds, user, nice and system, that all processes of this machine have used."""
    return sum(map(int, Path("/proc/stat").read_text().split(None, 4)[1:4])) * _TICK


def memory_bytes(pids: list[int]) -> int:
    """Return the memory of these processes. Each shared page is divided among the processes that share it (PSS)."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that was started in a new session, with its process group, and close its pipes."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait(20)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
