"""`make test-again`: what it counts, and that it leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import again
from tests.support.servers import wait_until

PASSING = "def test_passes(): pass\n"
FAILING = """
import pytest
def test_fails(): assert False
@pytest.mark.parametrize("n", [1, 2])
def test_one_of(n): assert n == 1
"""
USES_A_SERVER = """
from tests.support.servers import scratch
def test_with_a_server_fails():
    with scratch() as folder:
        (folder / "broker.log").write_text("started")
        assert False
"""


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(again, "KEPT", tmp_path / "kept")
    return tmp_path / "kept"


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use normal priority on one core: with the lowest, runs take minutes next to other tests."""
    way = again.WAYS["one-core"]
    monkeypatch.setitem(again.WAYS, "one-core", again.Way(way.prefix[: way.prefix.index("nice")]))


def ends(pid: int) -> bool:
    """Return whether a process has ended; a zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def given(tmp_path: Path, text: str) -> str:
    path = tmp_path / "test_given.py"
    path.write_text(text)
    return str(path)


def test_one_core_uses_one_core_at_the_lowest_priority(tmp_path: Path) -> None:
    script = "import os; print(len(os.sched_getaffinity(0)), os.nice(0))"
    assert again.run([*again.WAYS["one-core"].prefix, sys.executable, "-c", script], tmp_path) == 0
    assert (tmp_path / "output").read_text().split() == ["1", "19"]


@pytest.mark.usefixtures("unhurried")
def test_failures_are_counted_by_test_and_mode(tmp_path: Path, kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tests = given(tmp_path, PASSING + FAILING)
    assert again.main(["--times", "2", "--ways", "alone,one-core", "--processes", "0", tests]) == 1
    runs, table = capsys.readouterr().out.split("\n\n")
    began = [line for line in runs.splitlines() if not line.startswith(" ")]
    assert [line.rpartition(", ")[0] for line in began] == [
        f"{number}, {way}: 2 of 4 failed" for number in (1, 2) for way in ("alone", "one-core")
    ]
    assert all(line.endswith(" s") for line in began), "a run does not print its duration"
    head, fails, one_of, *where = table.splitlines()
    assert head.split() == ["failed", "alone", "one-core"]
    assert fails.split()[0].endswith("test_given::test_fails")
    assert one_of.split()[0].endswith("test_given::test_one_of[2]")
    assert fails.split()[1:] == one_of.split()[1:] == ["2/2", "2/2"]
    assert where == [f"kept: {kept / name}" for name in ("1-alone", "1-one-core", "2-alone", "2-one-core")]
    assert "assert False" in (kept / "1-alone" / "output").read_text()


def test_logs_of_the_servers_of_a_failed_run_are_kept(tmp_path: Path, kept: Path) -> None:
    tests = given(tmp_path, USES_A_SERVER)
    assert again.main(["--times", "1", "--ways", "alone", "--processes", "0", tests]) == 1
    (log,) = (kept / "1-alone").glob("*/broker.log")
    assert log.read_text() == "started"


def test_without_failures_no_files_are_kept(tmp_path: Path, kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tests = given(tmp_path, PASSING)
    assert again.main(["--times", "2", "--ways", "alone", "--processes", "0", tests]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "no failure in 2 tests"
    assert not kept.exists()


def test_other_users_can_run_programs_in_the_temporary_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tests of the image do."""
    text = "import os\ndef test_mode(): assert os.stat(os.environ['TMPDIR']).st_mode & 0o555 == 0o555\n"
    assert again.main(["--times", "1", "--ways", "alone", "--processes", "0", given(tmp_path, text)]) == 0
    assert "no failure" in capsys.readouterr().out


def test_aborted_run_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tests = given(tmp_path, "import os\ndef test_ends(): os._exit(3)\n")
    assert again.main(["--times", "1", "--ways", "alone", "--processes", "0", tests]) == 1
    assert again.RUN_ITSELF in capsys.readouterr().out


def test_output_of_an_interrupted_run_is_kept(tmp_path: Path, kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C, once the first of two tests has failed."""
    text = f"""
import os, signal, time
def test_fails(): assert False
def test_is_interrupted():
    os.kill({os.getpid()}, signal.SIGINT)
    time.sleep(600)
"""
    assert again.main(["--times", "1", "--ways", "alone", "--processes", "0", given(tmp_path, text)]) == 130
    assert capsys.readouterr().out.splitlines()[-1] == f"kept: {kept / '1-alone-interrupted'}"
    assert "assert False" in (kept / "1-alone-interrupted" / "output").read_text()


def test_hanging_run_is_ended(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(600)"]
    assert again.run(command, tmp_path, 0.5) is None
    assert ends(int((tmp_path / "output").read_text().split()[0]))


def test_servers_that_a_run_leaves_behind_are_ended(tmp_path: Path) -> None:
    server = "import os, time; os.setsid(); print(os.getpid(), flush=True); time.sleep(600)"
    text = f"""
import subprocess, sys
with subprocess.Popen([sys.executable, "-c", {server!r}], stdout=subprocess.PIPE) as left:
    print(left.stdout.readline().decode(), flush=True)
    import os; os._exit(3)
"""
    assert again.run([sys.executable, "-c", text], tmp_path) == 3
    pid = int((tmp_path / "output").read_text())
    wait_until(lambda: ends(pid), "the server has ended")


def test_burners_use_the_cpu_and_end() -> None:
    with again.burning(2) as pids:
        before = [used(pid) for pid in pids]
        wait_until(
            lambda: all(used(pid) > early for pid, early in zip(pids, before, strict=True)), "the burners use the CPU"
        )
    assert all(map(ends, pids))


def used(pid: int) -> int:
    """Return ticks of CPU time (proc(5))."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_burners_end_however_the_program_ends(tmp_path: Path, how: signal.Signals) -> None:
    tests = given(tmp_path, "import time\ndef test_sleeps(): time.sleep(600)\n")
    command = [sys.executable, "-m", "tests.programs.again", "--ways", "beside", "--processes", "0", tests]
    process = subprocess.Popen(
        command,
        cwd=again.ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},  # where a killed run leaves its files
        stdout=subprocess.DEVNULL,
        # A test run in the background of a shell ignores SIGINT, and its children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        wait_until(lambda: len(children.read_text().split()) == 3, "two burners and a run have started")
        pids = [int(pid) for pid in children.read_text().split()]
        process.send_signal(how)
        process.wait(120)
        burners = pids[:2]
        wait_until(lambda: all(map(ends, burners)), "the burners have ended")
    finally:
        process.kill()
        process.wait()
        for pid in pids:
            if not ends(pid):
                os.kill(pid, signal.SIGKILL)
