"""The client samples of `examples/`, run as a reader would: on the real gateway, and on one that hangs up on them."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from websockets.sync.server import ServerConnection, serve

from peatio_ws import keys
from tests.gateway import ROOT, WAIT, GatewayProcess, Publisher, Signer
from tests.servers import START_SECONDS

EXAMPLES = ROOT / "examples"
COMMANDS = {"python": [sys.executable, str(EXAMPLES / "client.py")], "node": ["node", str(EXAMPLES / "client.mjs")]}
NPM_SECONDS = 180.0

AUTHENTICATED = {"success": {"message": "Authenticated."}}


class Sample:
    """A running sample; its frames are read as they come, so that it never waits for us."""

    def __init__(self, language: str, url: str, uid: str, environ: dict[str, str]) -> None:
        ours = ("JWT_", "URL", "UID", "MEMBER_ID")
        self.process = subprocess.Popen(
            [*COMMANDS[language], url, uid],
            env={name: value for name, value in os.environ.items() if not name.startswith(ours)} | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A test run in the background of a shell ignores SIGINT, and so would its children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        self._frames: queue.Queue[str] = queue.Queue()
        self._notes: list[str] = []
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self._frames.put)),
            threading.Thread(target=self._read, args=(self.process.stderr, self._notes.append)),
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream: Any, put: Callable[[str], None]) -> None:
        with stream:
            for line in stream:
                put(line)

    @property
    def notes(self) -> str:
        return "".join(self._notes)

    def frame(self, seconds: float = WAIT) -> Any:
        """The next frame printed."""
        try:
            return json.loads(self._frames.get(timeout=seconds))
        except queue.Empty:
            raise AssertionError(f"nothing printed within {seconds} s; notes:\n{self.notes}") from None

    def authenticated(self, seconds: float = WAIT) -> None:
        assert "challenge" in self.frame(seconds)
        assert self.frame(seconds) == AUTHENTICATED

    def interrupt(self) -> int:
        """Ctrl-C; the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.ended()

    def ended(self, seconds: float = WAIT) -> int:
        """The exit status, once it has ended by itself."""
        status = self.process.wait(seconds)
        for reader in self._readers:
            reader.join(WAIT)
        return status

    def close(self) -> None:
        self.process.kill()
        self.ended()


@pytest.fixture(scope="session")
def node_modules() -> None:
    """What `examples/package-lock.json` names, installed."""
    installed, lock = EXAMPLES / "node_modules" / ".package-lock.json", EXAMPLES / "package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime:
        return
    done = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund"], cwd=EXAMPLES, capture_output=True, text=True, timeout=NPM_SECONDS
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(params=COMMANDS)
def language(request: pytest.FixtureRequest) -> str:
    if request.param == "node":
        request.getfixturevalue("node_modules")
    return str(request.param)


@pytest.fixture
def sample(language: str, signer: Signer) -> Iterator[Callable[..., Sample]]:
    """Starts samples of this language, with the gateway's key unless told another; ends them after the test."""
    with contextlib.ExitStack() as running:

        def start_one(url: str, uid: str = "IDANN", by: Signer = signer, **environ: str) -> Sample:
            private = {"JWT_PRIVATE_KEY": keys.private_pem(by.key).decode(), "JWT_ALGORITHM": by.algorithm}
            sample = Sample(language, url, uid, private | environ)
            running.callback(sample.close)
            return sample

        yield start_one


def test_prints_the_members_orders_and_ends_on_ctrl_c(
    gateway: GatewayProcess, publisher: Publisher, sample: Callable[..., Sample]
) -> None:
    ann = sample(gateway.url)
    ann.authenticated()
    publisher.order("IDBOB", 1)
    publisher.order("IDANN", 2)
    assert ann.frame()["orderbook"]["id"] == 2
    assert ann.interrupt() == 0
    assert ann.notes == ""


def test_comes_back_after_a_restart(
    start: Callable[..., GatewayProcess], publisher: Publisher, sample: Callable[..., Sample]
) -> None:
    gateway = start()
    ann = sample(gateway.url)
    ann.authenticated()
    gateway.restart()
    ann.authenticated(START_SECONDS)
    assert re.match(r"closed: 1012 restart; retry after \d+; back in", ann.notes), ann.notes
    publisher.order("IDANN", 3)
    assert ann.frame()["orderbook"]["id"] == 3
    assert ann.interrupt() == 0


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
def test_signs_with_other_keys(
    start: Callable[..., GatewayProcess], sample: Callable[..., Sample], algorithm: str
) -> None:
    by = Signer(algorithm)
    sample(start(**by.environ).url, by=by).authenticated()


@pytest.mark.parametrize("encode", [base64.standard_b64encode, base64.urlsafe_b64encode])
def test_takes_the_key_in_either_alphabet(
    gateway: GatewayProcess, signer: Signer, sample: Callable[..., Sample], encode: Callable[[bytes], bytes]
) -> None:
    sample(gateway.url, JWT_PRIVATE_KEY=encode(keys.private_pem(signer.key)).decode()).authenticated()


def test_gives_up_where_its_token_is_not_taken(gateway: GatewayProcess, sample: Callable[..., Sample]) -> None:
    ann = sample(gateway.url, JWT_AUDIENCE="another")
    assert "challenge" in ann.frame()
    assert ann.frame() == {"error": {"message": "Authentication failed."}}
    assert ann.ended() == 1
    assert "does not take this token" in ann.notes


@contextlib.contextmanager
def closing_with(*closes: tuple[int, str]) -> Iterator[tuple[str, list[float]]]:
    """A gateway that authenticates everybody and closes at once, with each code and reason in turn, the last for ever.

    Yields its URL and the times at which somebody came and was closed, in turn.
    """
    times: list[float] = []

    def handle(client: ServerConnection) -> None:
        code, reason = closes[min(len(times) // 2, len(closes) - 1)]
        times.append(time.monotonic())
        client.send('{"challenge":"text"}')
        client.recv(timeout=WAIT)
        client.send(json.dumps(AUTHENTICATED))
        client.close(code, reason)
        times.append(time.monotonic())

    with serve(handle, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}/", times
        server.shutdown()
        thread.join(WAIT)


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1008, 1009, 4401, 4403])
def test_does_not_come_back_where_it_would_not_help(sample: Callable[..., Sample], code: int) -> None:
    with closing_with((code, "because")) as (url, times):
        ann = sample(url)
        assert ann.ended() == 1
        assert f"closed: {code} because; " in ann.notes
        assert len(times) == 2, "it came once"


def test_comes_back_when_it_was_told_to_and_later_each_time(sample: Callable[..., Sample]) -> None:
    with closing_with((1012, "restart; retry after 2"), (1011, "internal error"), (1008, "")) as (url, times):
        assert sample(url).ended(30) == 1
    _, first_closed, second_came, second_closed, third_came, _ = times
    assert second_came - first_closed >= 3, "two seconds as told, and its own first pause of one to two"
    assert third_came - second_closed >= 2, "its own second pause, of two to four"
