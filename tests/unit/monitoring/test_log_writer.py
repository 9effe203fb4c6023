"""A log whose reader stalls: no greenlet waits, lines stay in order, and dropped lines are reported."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from peatio_ws.monitoring import log_writer
from peatio_ws.monitoring.log_writer import PIECE_BYTES, LogWriter
from tests.support.gateway import ROOT
from tests.support.servers import WAIT_SECONDS, wait_until
from tests.unit.monitoring.test_metric_files import no_space


@contextlib.contextmanager
def pipe() -> Iterator[tuple[int, IO[str]]]:
    """A pipe with the smallest possible buffer: its reading end, and its writing end as a text stream."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIECE_BYTES)
    stream = os.fdopen(writer, "w")
    try:
        yield reader, stream
    finally:
        os.close(reader)  # close this end first: it ends a thread that is writing
        with contextlib.suppress(OSError):
            stream.close()


def notice(dropped: int) -> str:
    return f"dropped {dropped}\n"


def read_lines(reader: int, until: str) -> list[str]:
    """Return all lines up to the one with this text."""
    found = b""
    while not (found.endswith(b"\n") and until in found.decode().splitlines()):
        found += os.read(reader, 65_536)
    return found.decode().splitlines()


def test_stalled_log_reader_delays_nothing_and_drops_are_reported() -> None:
    lines = [f"{number:04} {'x' * 95}" for number in range(1000)]
    with pipe() as (reader, stream):
        writer = LogWriter(stream, notice, most_bytes=20_000)
        for line in lines:
            writer.write(line + "\n")  # blocks here if logging waits for the reader
        assert 1000 - 300 < writer.dropped < 1000
        found = read_lines(reader, f"dropped {writer.dropped}")
        writer.write("again\n")
        assert read_lines(reader, "again") == ["again"]
    kept = 1000 - writer.dropped
    assert found == [*lines[:kept], f"dropped {writer.dropped}"], "lines out of order, or drops not reported once"


def test_lines_of_many_threads_stay_whole_and_in_order() -> None:
    with pipe() as (reader, stream):
        writer = LogWriter(stream, notice)

        def write(name: str) -> None:
            for number in range(300):
                writer.write(f"{name} {number} {'y' * (number % 200)}\n")

        threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        found = b""
        while found.count(b"\n") < 900:
            found += os.read(reader, 65_536)
    parts = [line.split(" ") for line in found.decode().splitlines()]
    for name in "abc":
        own = [(int(number), len(text)) for who, number, text in parts if who == name]
        assert own == [(number, number % 200) for number in range(300)]


def test_lines_of_several_processes_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces: list[bytes] = []
    monkeypatch.setattr(log_writer.os, "write", lambda fd, data: pieces.append(bytes(data)) or len(data))
    with pipe() as (_, stream):
        writer = LogWriter(stream, notice)
        for number in range(200):
            writer.write("x" * (50 + number) + "\n")
        writer.write("y" * 10_000 + "\n")
        writer.settle(WAIT_SECONDS)
    assert sum(piece.count(b"\n") for piece in pieces) == 201
    assert all(piece.endswith(b"\n") for piece in pieces)
    assert all(len(piece) <= PIECE_BYTES for piece in pieces if not piece.startswith(b"y"))


def test_parts_of_a_line_are_written_together(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces: list[bytes] = []
    monkeypatch.setattr(log_writer.os, "write", lambda fd, data: pieces.append(bytes(data)) or len(data))
    with pipe() as (_, stream):
        writer = LogWriter(stream, notice)
        for text in ("a", " ", "b\nc", "", " d", "\n", "\n", "prompt: "):
            writer.write(text)
        writer.settle(WAIT_SECONDS)
    assert b"".join(pieces) == b"a b\nc d\n\nprompt: "
    assert all(piece.endswith((b"\n", b": ")) for piece in pieces)


def test_full_disk_is_reported_once_writes_succeed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    full, taken = [True], list[bytes]()

    def write(fd: int, data: bytes) -> int:
        if full[0]:
            raise OSError(28, "No space left on device")
        taken.append(bytes(data))
        return len(data)

    monkeypatch.setattr(log_writer.os, "write", write)
    with pipe() as (_, stream):
        writer = LogWriter(stream, notice)
        for _ in range(5):
            writer.write("lost\n")
        writer.settle(WAIT_SECONDS)
        wait_until(lambda: writer.dropped == 5, "dropped")
        full[0] = False
        writer.write("kept\n")
        wait_until(lambda: b"".join(taken) == b"kept\ndropped 5\n", "the dropped lines are reported")


def test_writer_thread_ends_when_idle_and_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_writer, "LINGER_SECONDS", 0.01)
    with pipe() as (reader, stream):
        writer = LogWriter(stream, notice)
        for number in range(3):
            writer.write(f"{number}\n")
            assert read_lines(reader, str(number)) == [str(number)]
            wait_until(lambda: not writer._thread, "the thread has ended")


def run(code: str, **streams: object) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", textwrap.dedent(code)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(program, env=environ, text=True, timeout=WAIT_SECONDS, **streams)  # type: ignore[call-overload,no-any-return]


def test_waiting_lines_are_written_once_at_exit_even_after_a_fork(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("w") as file:
        run(
            """
            import atexit, os, sys
            from peatio_ws.monitoring import log_writer
            atexit.register(log_writer.settle)
            sys.stderr = log_writer.LogWriter(sys.stderr, "dropped {}\\n".format)
            for number in range(2000):
                print("before", number, file=sys.stderr)
            child = os.fork()
            for number in range(2000):
                print("parent" if child else "child", number, file=sys.stderr)
            if child:
                os.waitpid(child, 0)
            sys.exit("the end")
            """,
            stderr=file,
        )
    lines = path.read_text().splitlines()
    assert sorted(lines) == sorted(
        [f"{who} {number}" for who in ("before", "parent", "child") for number in range(2000)] + ["the end"] * 2
    )


def test_exit_does_not_wait_for_a_stalled_reader() -> None:
    with pipe() as (_, stream):
        done = run(
            """
            import atexit, sys
            from peatio_ws.monitoring import log_writer
            log_writer.FLUSH_SECONDS = 0.2
            atexit.register(log_writer.settle)
            sys.stderr = log_writer.LogWriter(sys.stderr, "dropped {}\\n".format)
            for number in range(100_000):
                print("line", number, file=sys.stderr)
            """,
            stderr=stream,
        )
    assert done.returncode == 0


def test_lines_for_a_file_are_written_at_once(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream:
        writer = LogWriter(stream, notice)
        writer.write("one\n")
        assert (tmp_path / "log").read_text() == "one\n"


def test_line_that_a_full_disk_cuts_off_does_not_join_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("w") as stream:
        writer = LogWriter(stream, notice)
        writer.write("one\n")
        with no_space(10):
            writer.write("two is cut off\n")
            writer.write("three\n")
        writer.write("four\n")
        writer.write("five\n")
    assert path.read_text() == "one\ntwo is\ndropped 2\nfour\nfive\n"


def test_lines_that_a_file_refuses_are_dropped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("w") as stream:
        writer, kept = LogWriter(stream, notice), os.dup(stream.fileno())
        writer.write("one\n")
        os.dup2(os.open(path, os.O_RDONLY), stream.fileno())  # accepts nothing, like a full disk
        writer.write("two\nthree\n")
        os.dup2(kept, stream.fileno())
        writer.write("four\n")
        assert writer.dropped == 2
        assert path.read_text() == "one\n\ndropped 2\nfour\n"
