"""CPU time and memory of a process and its children, out of /proc; and starting and ending them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

_TICK = 1 / os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """This process and all that came from it and are still there."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(folder.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def cpu_seconds(pids: list[int]) -> float:
    """CPU time, user and system, that these processes have used; of one that has ended, nothing.

    utime + stime of /proc/PID/stat count in steps of 10 ms; where the kernel keeps schedstat, the same sum is there in
    nanoseconds, for each thread.
    """
    return sum(_precise_cpu(pid) or _coarse_cpu(pid) for pid in pids if Path(f"/proc/{pid}").exists())


def _coarse_cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK


def _precise_cpu(pid: int) -> float:
    def of_threads() -> Iterator[int]:
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                yield int((task / "schedstat").read_text().split()[0])

    return sum(of_threads()) / 1e9


def busy_seconds() -> float:
    """CPU time that all processes of this machine have used."""
    return sum(map(int, Path("/proc/stat").read_text().split(None, 4)[1:4])) * _TICK


def memory_bytes(pids: list[int]) -> int:
    """Memory in these processes, shared pages counted in parts (Pss)."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a session of its own, with all its children, at once."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait(20)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
