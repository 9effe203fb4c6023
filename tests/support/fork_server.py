"""Starts Python programs in a fraction of the time: as forks of a process that has loaded the product's modules.

A gateway takes a second of CPU to start, most of it for its 800 modules, and the tests start hundreds. A fork is a
process of its own: it has its own environment, settings, log and metrics, and runs `python -m MODULE` from the
beginning. Modules that depend on any of these at their import are not loaded before.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import importlib.abc
import json
import os
import resource
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal, NoReturn

ROOT = Path(__file__).parent.parent.parent
MOST_BYTES = 200_000
"""Of a request: arguments and environment of a program."""
RUNS = 1000
"""The answer for a process that has not ended; all statuses are smaller."""
LIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]
"""A test may have changed those of its process, which a new process inherits."""
NOT_LOADED = "prometheus_client"
"""It decides at its import, by the environment, where the values of metrics are."""
PYTHON_CLIENT = ROOT / "clients" / "python" / "src"
LIBRARIES = ("gunicorn.app.wsgiapp", "gunicorn.workers.ggevent", "geventwebsocket.gunicorn.workers")

Kind = Literal["gateway", "command", "client"]
"""What a fork server starts: gateways, whose process has applied gevent's patches first, commands of `peatio_ws`, or
programs that use the Python client.
"""


class ForkServer:
    """Runs programs as forks of one process, which ends with this one."""

    def __init__(self, kind: Kind) -> None:
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = theirs.fileno()
            command = [sys.executable, "-m", "tests.support.fork_server", str(number), kind]
            environ = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
            environ["PYTHONPATH"] = f"{ROOT}:{PYTHON_CLIENT}" if kind == "client" else str(ROOT)
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=environ, pass_fds=[number], stdout=subprocess.DEVNULL
            )

    def close(self) -> None:
        self._socket.close()
        self._process.wait()

    def start(self, words: Sequence[str], environ: Mapping[str, str], stdout: IO[Any], stderr: IO[Any]) -> Fork:
        """Start `python -m` with these words in the project's folder. `environ` is the whole environment."""
        limits = {number: resource.getrlimit(number) for number in LIMITS}
        text = json.dumps([list(words), dict(environ), list(limits.items())])
        return Fork(self, words, self.ask(text, stdout.fileno(), stderr.fileno()))

    def run(self, words: Sequence[str], environ: Mapping[str, str], seconds: float) -> subprocess.CompletedProcess[str]:
        """Run `python -m` with these words to its end. Raises subprocess.TimeoutExpired."""
        with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
            process = self.start(words, environ, stdout, stderr)
            try:
                status = process.wait(seconds)
            finally:
                process.kill()
                process.wait()
            stdout.seek(0)
            stderr.seek(0)
            return subprocess.CompletedProcess(words, status, stdout.read(), stderr.read())

    def ask(self, text: str, *descriptors: int) -> int:
        """Return the answer to a request."""
        with self._lock:
            socket.send_fds(self._socket, [text.encode()], descriptors)
            answer = self._socket.recv(100)
        assert answer, "the fork server has ended"
        return int(answer)


@functools.cache
def shared(kind: Kind) -> ForkServer:
    """Return the fork server of this process, which starts it when it is first needed."""
    server = ForkServer(kind)
    atexit.register(server.close)
    return server


class Fork:
    """A process that a fork server started, with what the tests use of `subprocess.Popen`."""

    def __init__(self, server: ForkServer, words: Sequence[str], pid: int) -> None:
        self._server, self.args, self.pid = server, words, pid
        self.returncode: int | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        with self._lock:  # the status can be asked for only once
            if self.returncode is None and (answer := self._server.ask(str(self.pid))) != RUNS:
                self.returncode = answer
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            end = os.pidfd_open(self.pid)  # valid, because the pid stays until the status is asked for
            try:
                waiting = select.poll()
                waiting.register(end, select.POLLIN)
                if not waiting.poll(None if timeout is None else timeout * 1000):
                    raise subprocess.TimeoutExpired(self.args, timeout or 0)
            finally:
                os.close(end)
        status = self.poll()
        assert status is not None
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _NotLoaded(importlib.abc.MetaPathFinder):
    """Refuses the imports of modules that each process has to load by itself."""

    def find_spec(self, name: str, _path: object, _target: object = None) -> None:
        if name == NOT_LOADED:
            raise ImportError(name)


def load() -> None:
    """Load all modules that do not depend on the environment."""
    finder = _NotLoaded()
    sys.meta_path.insert(0, finder)
    files = sorted((ROOT / "peatio_ws").rglob("*.py"))
    ours = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files if file.stem != "__main__"]
    for name in (*LIBRARIES, *ours):
        with contextlib.suppress(ImportError):
            importlib.import_module(name.removesuffix(".__init__"))
    sys.meta_path.remove(finder)


def serve(requests: socket.socket, kind: str) -> list[str]:
    """Answer requests until the other end is closed. Returns in each fork, with the words of its program."""
    fork, wait, receive = os.fork, os.waitpid, socket.recv_fds
    match kind:
        case "gateway":
            importlib.import_module("gevent.monkey").patch_all()
            load()
            importlib.import_module("gevent").get_hub().destroy(destroy_loop=True)  # all forks would share its epoll
        case "command":
            load()
        case "client":
            importlib.import_module("peatio_client")
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)  # after Ctrl-C tests still end their gateways
    while text := (request := receive(requests, MOST_BYTES, 2))[0]:
        descriptors = request[1]
        match json.loads(text):
            case int(pid):
                ended, status = wait(pid, os.WNOHANG)
                answer = os.waitstatus_to_exitcode(status) if ended else RUNS
            case [words, environ, limits]:
                if (answer := fork()) == 0:
                    for number, (soft, hard) in limits:
                        resource.setrlimit(number, (soft, hard))
                    signal.signal(signal.SIGINT, interrupt)
                    for standard, descriptor in enumerate(descriptors, 1):
                        os.dup2(descriptor, standard)
                        os.close(descriptor)
                    requests.close()
                    os.environ.clear()
                    os.environ.update(environ)
                    tempfile.tempdir = None  # so that the fork looks at its TMPDIR
                    return list(words)
        for descriptor in descriptors:
            os.close(descriptor)
        requests.send(str(answer).encode())
    return []


def run(module: str) -> int:
    """Run a module as a program. Return its status."""
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        print(ended.code, file=sys.stderr)
        return 1
    except Exception:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def end(status: int) -> NoReturn:
    """End this process as Python does, except that no module is torn down: that takes longer than the rest of a
    gateway's shutdown, because it writes to all memory that the fork shares.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    program = serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
    if program:
        sys.argv, sys.orig_argv[1:] = program, ["-m", *program]
        end(run(program[0]))
