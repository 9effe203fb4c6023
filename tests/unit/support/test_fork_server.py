"""Programs that a fork server starts find what those find that `python -m` starts."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fork_server import ROOT, ForkServer
from tests.support.servers import wait_until

REPORT = "tests.support.apps.process_report"
SECONDS = 60
ENVIRON = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}


@pytest.fixture(scope="module")
def forks() -> Iterator[ForkServer]:
    server = ForkServer("gateway")
    yield server
    server.close()


def test_fork_finds_what_a_new_process_finds(forks: ForkServer) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))  # after the server has started
    try:
        forked = forks.run([REPORT, "a", "b"], ENVIRON, SECONDS)
        command = [sys.executable, "-m", REPORT, "a", "b"]
        started = subprocess.run(command, cwd=ROOT, env=ENVIRON, capture_output=True, text=True, timeout=SECONDS)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert forked.stdout == started.stdout
    assert (forked.stderr, forked.returncode) == (started.stderr, started.returncode) == ("ended\n", 1)


def test_exception_is_printed_and_exit_handlers_run(forks: ForkServer) -> None:
    forked = forks.run([REPORT, "fail"], ENVIRON, SECONDS)
    assert forked.returncode == 1
    assert forked.stdout.endswith("exit handlers run\n")
    assert forked.stderr.endswith("ArithmeticError: failed\n")


def test_fork_is_ended_by_a_signal(forks: ForkServer, tmp_path: Path) -> None:
    with (tmp_path / "output").open("w+") as output:
        fork = forks.start([REPORT, "wait"], ENVIRON, output, output)
        wait_until(lambda: (tmp_path / "output").stat().st_size > 0, "the program runs")
        assert fork.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            fork.wait(0)
        fork.terminate()
        assert fork.wait(SECONDS) == fork.poll() == -signal.SIGTERM
        fork.kill()  # harms no other process that has the same id by now


def test_program_that_runs_too_long_is_ended(forks: ForkServer) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        forks.run([REPORT, "wait"], ENVIRON, 0)
