"""The pages and examples that begin with `make run`, as a stranger runs them: in a new checkout, where `make run` makes
the environment, with bash and only what the page says.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import documents, shell_pages
from tests.support.gateway import ROOT
from tests.support.servers import START_SECONDS, free_port

BOT = "docs/how-to/market-making-bot.md"
PAGES = [BOT]
LEFT_OUT = shutil.ignore_patterns(".*", "node_modules", "build", "*.egg-info", "__pycache__", "tests", "bench")
INSTALL_SECONDS = 240.0
SECONDS = 120.0


class Output:
    """What a process prints, read as it comes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self._text, self._more = process, "", threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                with self._more:
                    self._text += line
                    self._more.notify_all()
        with self._more:
            self._more.notify_all()

    def wait_for(self, pattern: str, seconds: float = SECONDS) -> re.Match[str]:
        """Wait for this pattern in what was printed since the last one."""
        deadline = time.monotonic() + seconds
        with self._more:
            while not (found := re.search(pattern, self._text)):
                assert self._reader.is_alive(), f"it ended without {pattern}: {self._text}"
                assert time.monotonic() < deadline, f"no {pattern}: {self._text}"
                self._more.wait(1)
            self._text = self._text[found.end() :]
        return found

    def end(self, signal_number: int) -> int:
        """Send a signal to the process's group. Return the exit status."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal_number)
        status = self.process.wait(START_SECONDS)
        self._reader.join(START_SECONDS)
        return status


class Checkout:
    """A copy of the project without what was installed into it, in which `make run` has been typed.

    Attributes:
        environ: a stranger's environment, with the token that `make run` printed.
        port: what the pages call 8080.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder / "checkout", free_port()
        shutil.copytree(ROOT, self.folder, ignore=LEFT_OUT, symlinks=True)
        (self.folder / "tests").mkdir()
        shutil.copy(ROOT / "tests" / "make-venv", self.folder / "tests")
        ours = str(Path(sys.prefix) / "bin")
        path = ":".join(part for part in os.environ["PATH"].split(":") if part != ours)
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
        self.environ = {**kept, "PATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        self.start(INSTALL_SECONDS)

    def start(self, seconds: float = START_SECONDS) -> None:
        ports = {"WEBSOCKET_PORT": str(self.port), "METRICS_PORT": str(free_port()), "WEBSOCKET_HOST": "127.0.0.1"}
        self.gateway = self.run(["make", "run"], **ports)
        self.environ["TOKEN"] = self.gateway.wait_for(r'"Bearer (\S+)"', seconds)[1]
        self.gateway.wait_for(r"listening|Booting worker", seconds)

    def run(self, command: list[str], **environ: str) -> Output:
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
            # A test run in the background of a shell ignores SIGINT, and its children would inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        return Output(process)

    def run_page(self, page: str, folder: Path) -> None:
        """Run the commands of a page, and compare what they print."""
        found = documents.blocks(ROOT / page)
        blocks = [block for block in found if shell_pages.belongs(block) and block.reason is None]
        done = subprocess.run(
            shell_pages.COMMAND,
            input=shell_pages.program(blocks, folder, {"8080": str(self.port)}),
            env=self.environ,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    checkout = Checkout(tmp_path_factory.mktemp("stranger"))
    yield checkout
    checkout.gateway.end(signal.SIGINT)


@pytest.mark.parametrize("page", PAGES)
def test_the_page_does_what_it_shows(page: str, checkout: Checkout, tmp_path: Path) -> None:
    checkout.run_page(page, tmp_path)


def test_the_bot_survives_a_lost_exchange_and_leaves_no_order(checkout: Checkout, tmp_path: Path) -> None:
    """The page's bot, with everything lost that the exchange knew; then ended with Ctrl-C."""
    (block,) = [block for block in documents.blocks(ROOT / BOT) if block.how == "file bot.py"]
    (tmp_path / "bot.py").write_text(block.text.replace(":8080", f":{checkout.port}"))
    make = [".venv/bin/python", "-m", "peatio_ws", "token", "--uid", "IDMAKER2"]
    token = subprocess.check_output(make, cwd=checkout.folder, env=checkout.environ, text=True).strip()
    bot = checkout.run([".venv/bin/python", str(tmp_path / "bot.py")], TOKEN=token)
    try:
        bot.wait_for("order filled")
        checkout.gateway.end(signal.SIGKILL)
        checkout.start()
        bot.wait_for("(buy|sell) 0.5 at")
        bot.wait_for("order filled")
        assert bot.end(signal.SIGINT) == 0
        bot.wait_for("no order left")
        request = urllib.request.Request(
            f"http://127.0.0.1:{checkout.port}/api/v2/market/orders?state=wait",
            headers={"Authorization": f"Bearer {token}"},
        )
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            assert json.load(answer) == []
    finally:
        bot.end(signal.SIGKILL)
