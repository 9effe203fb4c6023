"""The client samples of `examples/`, run as a reader would run them."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import queue
import re
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from peatio_ws.auth import keys
from tests.live.conftest import EXAMPLES
from tests.support.driving import closing_with
from tests.support.fork_server import PYTHON_CLIENT
from tests.support.gateway import WAIT, GatewayProcess, Publisher, Signer
from tests.support.servers import START_SECONDS, wait_until

COMMANDS = {
    "python": [sys.executable, str(EXAMPLES / "client.py")],
    "node": ["node", str(EXAMPLES / "client.mjs")],
    "ruby": ["ruby", "-w", str(EXAMPLES / "client.rb")],
}


class Sample:
    """A running sample. Its frames are read as they arrive, so that it never blocks on its output."""

    def __init__(self, language: str, url: str, uid: str, environ: dict[str, str]) -> None:
        ours = ("JWT_", "URL", "UID", "MEMBER_ID")
        self.process = subprocess.Popen(
            [*COMMANDS[language], url, uid],
            env={name: value for name, value in os.environ.items() if not name.startswith(ours)}
            | {"PYTHONPATH": str(PYTHON_CLIENT)}
            | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A test run in the background of a shell ignores SIGINT, and its children would inherit that.
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
        """Return the next frame that it printed."""
        try:
            return json.loads(self._frames.get(timeout=seconds))
        except queue.Empty:
            raise AssertionError(f"nothing printed within {seconds} s; notes:\n{self.notes}") from None

    def connected(self, times: int = 1, seconds: float = WAIT) -> None:
        """Wait until it has printed that it is connected this many times in total."""
        wait_until(lambda: self._notes.count("connected\n") >= times, "connected", seconds)

    def interrupt(self) -> int:
        """Interrupt it with SIGINT. Return its exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.ended()

    def ended(self, seconds: float = WAIT) -> int:
        """Return its exit status once it has ended by itself."""
        status = self.process.wait(seconds)
        for reader in self._readers:
            reader.join(WAIT)
        return status

    def close(self) -> None:
        self.process.kill()
        self.ended()


@pytest.fixture(params=COMMANDS)
def language(request: pytest.FixtureRequest) -> str:
    if request.param == "node":
        request.getfixturevalue("node_modules")
    return str(request.param)


@pytest.fixture
def sample(language: str, signer: Signer) -> Iterator[Callable[..., Sample]]:
    """Start samples of this language, by default with the gateway's key. They end after the test."""
    with contextlib.ExitStack() as running:

        def start_one(url: str, uid: str = "IDANN", by: Signer = signer, **environ: str) -> Sample:
            private = {"JWT_PRIVATE_KEY": keys.private_pem(by.key).decode(), "JWT_ALGORITHM": by.algorithm}
            sample = Sample(language, url, uid, private | environ)
            running.callback(sample.close)
            return sample

        yield start_one


def order_in(frame: dict[str, Any]) -> Any:
    """Return the order of a frame of either protocol: the sample in Ruby speaks the classic one."""
    return frame["order"] if "order" in frame else frame["orderbook"]


def test_prints_the_members_orders_and_ends_on_ctrl_c(
    gateway: GatewayProcess, publisher: Publisher, sample: Callable[..., Sample]
) -> None:
    ann = sample(gateway.url)
    ann.connected()
    publisher.order("IDBOB", 1)
    publisher.order("IDANN", 2)
    assert order_in(ann.frame())["id"] == 2
    assert ann.interrupt() == 0
    assert ann.notes == "connected\n"


def test_reconnects_after_a_restart(
    start: Callable[..., GatewayProcess], publisher: Publisher, sample: Callable[..., Sample]
) -> None:
    gateway = start()
    ann = sample(gateway.url)
    ann.connected()
    gateway.restart()
    ann.connected(2, START_SECONDS)
    assert re.match(r"connected\nclosed: 1012 restart; retry after \d+; back in", ann.notes), ann.notes
    publisher.order("IDANN", 3)
    assert order_in(ann.frame())["id"] == 3
    assert ann.interrupt() == 0


@pytest.mark.parametrize(
    ("language", "algorithm"),
    [(language, algorithm) for language in COMMANDS for algorithm in ("ES256", "EdDSA")][
        :-1
    ],  # Ruby needs a gem for it
    indirect=["language"],
)
def test_signs_with_other_keys(
    start: Callable[..., GatewayProcess], sample: Callable[..., Sample], algorithm: str
) -> None:
    by = Signer(algorithm)
    sample(start(**by.environ).url, by=by).connected()


@pytest.mark.parametrize("encode", [base64.standard_b64encode, base64.urlsafe_b64encode])
def test_accepts_the_key_in_either_base64_alphabet(
    gateway: GatewayProcess, signer: Signer, sample: Callable[..., Sample], encode: Callable[[bytes], bytes]
) -> None:
    sample(gateway.url, JWT_PRIVATE_KEY=encode(keys.private_pem(signer.key)).decode()).connected()


def test_gives_up_if_its_token_is_refused(gateway: GatewayProcess, sample: Callable[..., Sample]) -> None:
    ann = sample(gateway.url, JWT_AUDIENCE="another")
    assert ann.ended() == 1
    assert "Authentication failed." in ann.notes or "The token in Authorization does not verify." in ann.notes
    assert "refuses this token" in ann.notes


def test_does_not_reconnect_if_that_cannot_help(sample: Callable[..., Sample]) -> None:
    with closing_with((1003, "because")) as (url, times):
        ann = sample(url)
        assert ann.ended() == 1
        assert "closed: 1003 because; giving up" in ann.notes
        assert len(times) == 2, "it reconnected"


@pytest.mark.parametrize("code", [4401, 4403])
def test_comes_back_with_a_new_token_after_the_end_of_a_session(sample: Callable[..., Sample], code: int) -> None:
    with closing_with((code, "because"), (1003, "then")) as (url, times):
        ann = sample(url)
        assert ann.ended() == 1
        assert re.search(rf"(?s)closed: {code} because; back in .*closed: 1003 then; giving up", ann.notes)
        assert len(times) == 4


def test_orders_are_asked_for_again_until_the_answer_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [b"<h1>maintenance</h1>", b'[{"id":1,"state":"wait"}]']

    class Exchange(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answers.pop(0))

    with HTTPServer(("127.0.0.1", 0), Exchange) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("ORDERS_URL", f"http://127.0.0.1:{server.server_port}/")
        assert runpy.run_path(str(EXAMPLES / "rest.py"))["fetch_orders"](lambda: "token") == {1: "wait"}
        server.shutdown()
