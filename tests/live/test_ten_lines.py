"""The ten-line programs of `examples/` with installed packages: a member's orders are correct in the end, whatever
happens to the connection, the gateway and the token.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from peatio_ws.auth import keys
from tests.live.conftest import EXAMPLES
from tests.support import stranger
from tests.support.driving import Line
from tests.support.gateway import WAIT, GatewayProcess, Publisher, Signer
from tests.support.servers import RabbitMQ, wait_until

UID = "IDTENLINES"
TOKEN_SECONDS = 12
"""Long enough for new tokens to arrive in time on a busy machine."""
PACE = 0.05
"""Seconds between two changes of orders."""
OPEN_FOR = 5
"""How many more orders are placed before an order is done."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stranger.installed_client(tmp_path_factory)


class Exchange:
    """Places orders of one member and completes them, at a steady rate, and lists them over HTTP. The first request for
    each address is answered with 503.

    Attributes:
        orders: the state of every order.
        asked: the addresses that were asked for the list, in order.
    """

    def __init__(self, broker: RabbitMQ) -> None:
        self.orders: dict[int, str] = {}
        self.asked: list[str] = []
        self._broker, self._stop = broker, threading.Event()
        self._thread = threading.Thread(target=self._run)
        exchange = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                assert self.headers["Authorization"].startswith("Bearer ")
                known = self.path in exchange.asked
                exchange.asked.append(self.path)
                orders = [{"id": number, "state": state} for number, state in list(exchange.orders.items())]
                body = json.dumps(orders).encode() if known else b"<html></html>"
                self.send_response(200 if known else 503)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self._server.server_port}/market/orders"
        self._serving = threading.Thread(target=self._server.serve_forever)

    def _run(self) -> None:
        with Publisher(self._broker.url) as publisher:
            number = 0
            while not self._stop.wait(PACE):
                number += 1
                self._change(publisher, number, "wait")
                if number > OPEN_FOR:
                    self._change(publisher, number - OPEN_FOR, "done" if number % 3 else "cancel")

    def _change(self, publisher: Publisher, number: int, state: str) -> None:
        publisher.order(UID, number, state=state)
        self.orders[number] = state

    def __enter__(self) -> Exchange:
        self._thread.start()
        self._serving.start()
        return self

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(WAIT)

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._server.shutdown()
        self._server.server_close()
        self._serving.join(WAIT)


class Program:
    """A running program."""

    def __init__(self, command: list[str], environ: dict[str, str]) -> None:
        self.name, self._last = command[-1], "{}"
        self.process = subprocess.Popen(
            command, env={**os.environ, **environ}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._notes: list[str] = []
        self._threads = [threading.Thread(target=self._read), threading.Thread(target=self._note)]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                if not line.endswith("\n"):
                    break  # it was killed while it wrote
                self._last = line

    def _note(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            self._notes += lines

    @property
    def orders(self) -> dict[int, str]:
        """Return the orders that it printed last."""
        return {int(number): state for number, state in json.loads(self._last).items()}

    def wait_for(self, number: int) -> None:
        """Wait until it knows this order."""
        wait_until(lambda: number in self.orders, f"{self.name}: order {number}; it said: {self._notes}")

    def close(self) -> None:
        self.process.kill()
        self.process.wait(WAIT)
        for thread in self._threads:
            thread.join(WAIT)


@pytest.fixture
def exchange(broker: RabbitMQ) -> Iterator[Exchange]:
    with Exchange(broker) as exchange:
        yield exchange


@pytest.fixture
def gateway(start: Callable[..., GatewayProcess]) -> GatewayProcess:
    return start(WEB_CONCURRENCY="2", WEBSOCKET_DRAIN_SECONDS="0.5", JWT_ENFORCE_EXPIRY="true")


@pytest.fixture
def line(gateway: GatewayProcess) -> Iterator[Line]:
    line = Line(gateway.port)
    yield line
    line.end()


@pytest.fixture
def programs(installed: Path, node_modules: None, line: Line, exchange: Exchange, signer: Signer) -> Iterator[Any]:
    environ = {
        "PYTHONPATH": str(installed),
        "URL": line.url,
        "UID": UID,
        "JWT_PRIVATE_KEY": keys.private_pem(signer.key).decode(),
        "JWT_AUDIENCE": "peatio",
        "TOKEN_SECONDS": str(TOKEN_SECONDS),
    }
    commands = [
        [sys.executable, str(EXAMPLES / "orders.py")],
        [sys.executable, str(EXAMPLES / "orders_asyncio.py")],
        ["node", str(EXAMPLES / "orders.mjs")],
    ]
    with contextlib.ExitStack() as running:
        started = []
        for number, command in enumerate(commands):
            started.append(Program(command, environ | {"ORDERS_URL": f"{exchange.url}?program={number}"}))
            running.callback(started[-1].close)
        yield started


def expire_tokens(gateway: GatewayProcess, programs: list[Program]) -> None:
    """Freeze all programs until their tokens have expired and the gateway has closed their connections."""
    for program in programs:
        os.kill(program.process.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: expired(gateway) >= len(programs), "the tokens have expired", 3 * TOKEN_SECONDS + WAIT)
    finally:
        for program in programs:
            os.kill(program.process.pid, signal.SIGCONT)


def expired(gateway: GatewayProcess) -> float:
    return gateway.metric('peatio_ws_closes_total{by="gateway",code="4401"}')


def test_orders_are_correct_in_the_end(
    gateway: GatewayProcess, line: Line, exchange: Exchange, programs: list[Program]
) -> None:
    def wait_for_new_orders() -> None:
        number = max(exchange.orders, default=0) + 5
        for program in programs:
            program.wait_for(number)

    wait_for_new_orders()
    line.cut()
    wait_for_new_orders()
    for worker in gateway.workers():
        os.kill(worker, signal.SIGKILL)
    wait_for_new_orders()
    before = set(gateway.workers())
    os.kill(gateway.pid, signal.SIGHUP)
    # Wait for the old workers: a program that is not authenticated while it is frozen would not be closed with 4401.
    wait_until(lambda: not before & set(gateway.workers()), "the old workers are gone")
    wait_for_new_orders()
    assert expired(gateway) == 0, "a token expired before it was renewed"
    expire_tokens(gateway, programs)
    wait_for_new_orders()
    exchange.stop()
    for program in programs:
        wait_until(lambda program=program: program.orders == exchange.orders, f"{program.name}: the same orders")
    assert Counter(Counter(exchange.asked).values()) == {2: len(programs)}, "once more after the 503, and not again"
