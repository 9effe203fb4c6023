"""A copy of the project, and commands in it as a stranger types them: without what tests have installed or set.

Knows no page.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.support import shell_pages
from tests.support.documents import Block
from tests.support.gateway import ROOT
from tests.support.servers import START_SECONDS, WAIT_SECONDS, free_port, wait_until

INSTALL_SECONDS = 900.0
WHEELS = Path(sys.prefix) / "wheels"
"""The packages of requirements-dev.txt, which `make .venv/.test-ready` has downloaded."""
PIP = ".venv/bin/pip install "
PAGE_SECONDS = 90.0
LEFT_OUT = shutil.ignore_patterns(
    *(".git", ".venv*", ".run", ".*cache", ".hypothesis", "node_modules"),
    *("build", "*.egg-info", "__pycache__", "tests", "bench"),
)


def pip_options() -> dict[str, str]:
    """Return variables with which pip takes little time.

    It takes packages from `WHEELS`, if they are there, instead of an index, and does not compile their modules: Python
    compiles those that it imports.
    """
    found = (WHEELS / ".ready").exists()
    wheels = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(WHEELS)} if found else {}
    return {"PIP_COMPILE": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", **wheels}


def environment() -> dict[str, str]:
    """Return variables without those of the tests. pip and npm keep their caches, which a stranger may have, too.

    npm tries as often as pip does to reach its registry.
    """
    ours = str(Path(sys.prefix) / "bin")
    path = ":".join(part for part in os.environ["PATH"].split(":") if part != ours)
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    installers = {
        **pip_options(),
        "npm_config_prefer_offline": "true",
        "npm_config_fetch_retries": "5",
    }
    return {**kept, "PATH": path, **installers}


def installed(factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project with an environment in `.venv`: what `make run` installs, and the package itself."""

    def make(place: Path) -> None:
        folder = place / "checkout"
        shutil.copytree(ROOT, folder, ignore=LEFT_OUT, symlinks=True)
        (folder / "tests").mkdir()
        shutil.copy(ROOT / "tests" / "make-venv", folder / "tests")
        for command in ("make .venv/.run-ready", ".venv/bin/pip install ."):
            run = Program(command, folder, environment())
            assert run.process.wait(INSTALL_SECONDS) == 0, run.said()

    return _made_once(factory, "stranger", make) / "checkout"


def installed_client(factory: pytest.TempPathFactory) -> Path:
    """Return a folder with nothing but the Python client, as pip installs it from its folder.

    Its dependency is among the packages of the tests. pip gets what builds the package, as for any package with a
    pyproject.toml.
    """

    def make(place: Path) -> None:
        source = place / "source"  # pip builds in the source folder
        shutil.copytree(ROOT / "clients" / "python", source, ignore=shutil.ignore_patterns("build", "*.egg-info"))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", "site", source]
        environ = os.environ | pip_options()
        done = subprocess.run(command, cwd=place, env=environ, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        assert done.returncode == 0, done.stderr

    return _made_once(factory, "stranger-client", make) / "site"


def _made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that all processes of a test run share. The first one that needs it makes its content."""
    base = factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = root / name
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            make(folder)
            (folder / "ready").touch()
    return folder


class Program:
    """A running command. What it prints is read as it comes.

    Args:
        command: for bash.
        environ: all variables.
    """

    def __init__(self, command: str, folder: Path, environ: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
            # A test run in the background of a shell ignores SIGINT, and its children would inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        self._text, self._more = "", threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                with self._more:
                    self._text += line
                    self._more.notify_all()

    def wait_for(self, pattern: str, seconds: float = PAGE_SECONDS) -> re.Match[str]:
        """Wait for this pattern in what was printed since the last one. Raises AssertionError with the output."""
        deadline = time.monotonic() + seconds
        with self._more:
            while not (found := re.search(pattern, self._text)):
                assert self._reader.is_alive(), f"it ended without {pattern}: {self._text}"
                assert time.monotonic() < deadline, f"no {pattern}: {self._text}"
                self._more.wait(1)
            self._text = self._text[found.end() :]
        return found

    def said(self) -> str:
        """Return the whole output, once it has ended."""
        self._reader.join(START_SECONDS)
        return self._text

    def end(self, signal_number: int = signal.SIGKILL) -> int:
        """Send a signal to the process's group. Return the exit status."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal_number)
        status = self.process.wait(START_SECONDS)
        self._reader.join(START_SECONDS)
        return status


class Checkout:
    """A copy of the project with its environment, in which a command serves a gateway.

    Attributes:
        environ: a stranger's variables, with the token that the gateway printed.
        ports: what the pages call 8080 and 8000, and what they are here.
    """

    def __init__(self, folder: Path, serve: str) -> None:
        self.folder = folder
        self._npm_logs = folder.parent / f"npm-logs-{os.getpid()}"
        self.environ = {**environment(), "npm_config_logs_dir": str(self._npm_logs)}
        self.ports = {"8080": str(free_port()), "8000": str(free_port())}
        self._done = set[str]()  # commands that need not run twice
        self.start(serve)

    @property
    def port(self) -> int:
        return int(self.ports["8080"])

    def start(self, serve: str, seconds: float = START_SECONDS) -> None:
        """Run a command that serves until it is stopped, such as `make run`."""
        self.gateway = self.run(serve, WEBSOCKET_PORT=self.ports["8080"], METRICS_PORT=str(free_port()))
        self.environ["TOKEN"] = self.gateway.wait_for(r'"Bearer (\S+)"', seconds)[1]
        self.wait_for_http(self.port, "/healthcheck")

    @staticmethod
    def wait_for_http(port: int, path: str) -> None:
        """Wait until a server answers this path with 200."""

        def is_there() -> bool:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=WAIT_SECONDS) as answer:
                    return bool(answer.status == 200)
            except OSError:
                return False

        wait_until(is_there, f"port {port} answers {path}", INSTALL_SECONDS)

    def install(self, command: str) -> None:
        """Run an installing command of a page, unless it has run before: pages share the environment."""
        if command.strip() not in self._done:
            run = self.run(command)
            status = run.process.wait(INSTALL_SECONDS)
            assert status == 0, f"{command}: status {status}: {run.said()}\n{self._npm_errors()}"
            self._done.add(command.strip())

    def _npm_errors(self) -> str:
        """Return the errors of npm's last run, which `--silent` hides."""
        logs = sorted(self._npm_logs.glob("*.log"))
        lines = logs[-1].read_text().splitlines() if logs else []
        return "\n".join(line for line in lines if re.match(r"\d+ (error|warn|verbose (stack|code|exit))", line))

    def run(self, command: str, **environ: str) -> Program:
        """Run a command with the ports of this gateway."""
        return Program(self.here(command), self.folder, {**self.environ, **environ})

    def here(self, text: str) -> str:
        """Return a text of a page with the ports of this gateway."""
        for shown, real in self.ports.items():
            text = text.replace(f":{shown}", f":{real}").replace(f" {shown}\n", f" {real}\n")
        return text

    def run_page(self, blocks: Iterable[Block], outputs: Path) -> None:
        """Run the commands of a page, and compare what they print. Raises AssertionError with the output."""
        ours = [block for block in blocks if shell_pages.belongs(block) and block.reason is None]
        while ours[0].text.startswith(PIP):
            self.install(ours.pop(0).text)
        done = subprocess.run(
            shell_pages.COMMAND,
            input=shell_pages.program(ours, outputs, {f":{shown}": f":{real}" for shown, real in self.ports.items()}),
            env=self.environ,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PAGE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
