"""Run tests repeatedly, in three ways, and count how often each fails.

    python -m tests.programs.again [--times 10] [--ways alone,beside,one-core] [--processes 4] [TEST ...]

Ways: `alone`; `beside`, next to two processes that burn a core each; and on `one-core`, pinned there by `taskset` with
the lowest priority (`nice`). The ways take turns, so that an early Ctrl-C still leaves results of each. By default the
tests are those of tests/live and tests/faults. The output of a failed or interrupted run, and the folder with the logs
of its brokers and gateways, stay under `build/again`; the rest is deleted.

The status is 0 if nothing failed, 1 if something did, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from tests.support.servers import KEEP_LOGS

ROOT = Path(__file__).parent.parent.parent
KEPT = ROOT / "build" / "again"
DEFAULT = ("tests/live", "tests/faults")
MOST_SECONDS = 3600.0
"""For one run; it hangs if it takes longer."""
END_SECONDS = 60.0
"""For a run that was interrupted to end its servers."""
RUN_ITSELF = "(the run itself: it broke off, or hung)"

# Ends by itself if its parent is gone, however that ended.
BURN = "import os, sys\nwhile os.getppid() == int(sys.argv[1]):\n    for _ in range(10**6): pass"


@dataclass(frozen=True)
class Way:
    """How a run is disturbed.

    Attributes:
        prefix: the command in front of the run's own.
        burners: how many processes burn a core each meanwhile.
    """

    prefix: tuple[str, ...] = ()
    burners: int = 0


WAYS = {
    "alone": Way(),
    "beside": Way(burners=2),
    "one-core": Way(("taskset", "--cpu-list", str(min(os.sched_getaffinity(0))), "nice", "-n", "19")),
}


@dataclass
class Tally:
    """How often each test ran and failed in each way.

    Attributes:
        kept: where the output of runs with failures is.
    """

    ran: Counter[tuple[str, str]] = field(default_factory=Counter)
    failed: Counter[tuple[str, str]] = field(default_factory=Counter)
    kept: list[Path] = field(default_factory=list)

    def add(self, way: str, outcomes: dict[str, bool]) -> None:
        """Count a run by whether each test passed."""
        for test, passed in outcomes.items():
            self.ran[way, test] += 1
            self.failed[way, test] += not passed

    def table(self, ways: Sequence[str]) -> str:
        """Return the tests that failed, with how often of how many runs in each way."""
        tests = sorted({test for (_, test), times in self.failed.items() if times})
        kept = [f"kept: {path}" for path in self.kept]
        if not tests:
            return "\n".join([f"no failure in {self.ran.total():,} tests", *kept])
        width = max(map(len, tests))
        lines = ["  ".join(["failed".ljust(width), *(way.rjust(8) for way in ways)])]
        for test in tests:
            shown = [f"{self.failed[way, test]}/{self.ran[way, test]}".rjust(8) for way in ways]
            lines.append("  ".join([test.ljust(width), *shown]))
        return "\n".join([*lines, *kept])


def outcomes(report: Path) -> dict[str, bool]:
    """Return whether each test passed, from pytest's JUnit report; a skipped test counts as passed."""
    found: dict[str, bool] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname', '').replace('.', '/')}::{case.get('name', '')}"
        passed = case.find("failure") is None and case.find("error") is None
        found[name] = found.get(name, True) and passed
    return found


@contextlib.contextmanager
def burning(count: int) -> Iterator[list[int]]:
    """Run processes that burn this many cores; yields their ids."""
    processes = [subprocess.Popen([sys.executable, "-c", BURN, str(os.getpid())]) for _ in range(count)]
    try:
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def run(command: Sequence[str], folder: Path, seconds: float = MOST_SECONDS) -> int | None:
    """Run a command with its temporary files in a folder. Return its status, or None if it had to be ended."""
    environ = {**os.environ, "TMPDIR": str(folder), KEEP_LOGS: "yes"}
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=output, stderr=subprocess.STDOUT)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS)
            process.kill()
            process.wait()
        end_the_rest(folder)


def end_the_rest(folder: Path) -> None:
    """Kill what a run has left behind, for example the servers of a test that was interrupted: all processes with this
    folder for temporary files. They would take time from the runs after it."""
    mark = f"TMPDIR={folder}".encode()
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (place / "environ").read_bytes().split(b"\0"):
                os.kill(int(place.name), signal.SIGKILL)


def once(name: str, way: str, pytest: Sequence[str], tally: Tally) -> None:
    """Run all tests once in one way."""
    # Below the system's temporary folder: the path of a Unix socket has to be short.
    folder = Path(tempfile.mkdtemp(prefix="again-"))
    folder.chmod(0o755)  # some tests run programs as another user, which has to find them there
    began = time.monotonic()
    try:
        report = folder / "report.xml"
        with burning(WAYS[way].burners):
            status = run([*WAYS[way].prefix, *pytest, f"--junitxml={report}"], folder)
        found = outcomes(report) if report.exists() else {}
        if status not in (0, 1) or not found:
            found[RUN_ITSELF] = False
        tally.add(way, found)
        failures = [test for test, passed in found.items() if not passed]
        print(f"{name}, {way}: {len(failures)} of {len(found)} failed, {time.monotonic() - began:.0f} s", flush=True)
        for test in failures:
            print(f"    {test}", flush=True)
        if failures:
            tally.kept.append(keep(folder, KEPT / f"{name}-{way}"))
    except (KeyboardInterrupt, SystemExit):
        tally.kept.append(keep(folder, KEPT / f"{name}-{way}-interrupted"))
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def keep(folder: Path, place: Path) -> Path:
    """Copy a run's output and logs, without the brokers' data."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(folder, place, ignore=shutil.ignore_patterns("mnesia", "*.sock", "node_modules", ".erlang.cookie"))
    return place


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--times", type=int, default=10, help="runs in each way (10)")
    parser.add_argument("--ways", default=",".join(WAYS), help=f"some of {', '.join(WAYS)} (all)")
    parser.add_argument("--processes", default="4", help="xdist's -n; 0 for one process without it (4)")
    parser.add_argument("tests", nargs="*", default=DEFAULT, help=f"files or tests ({' '.join(DEFAULT)})")
    options = parser.parse_args(words)
    ways = options.ways.split(",")
    if unknown := set(ways) - set(WAYS):
        parser.error(f"--ways: {', '.join(sorted(unknown))}: not among {', '.join(WAYS)}")
    pytest = [sys.executable, "-m", "pytest", "-n", options.processes, "--dist", "loadscope", *options.tests]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, and their children, ignore it
    tally = Tally()
    status = 0
    try:
        for number in range(1, options.times + 1):
            for way in ways:
                once(str(number), way, pytest, tally)
    except KeyboardInterrupt:
        status = 130
    finally:
        print(f"\n{tally.table(ways)}", flush=True)
    return status or int(tally.failed.total() > 0)


if __name__ == "__main__":
    sys.exit(main())
