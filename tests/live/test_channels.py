"""Everything that the simulated exchange publishes is as docs/channels.md says, and what it answers over REST agrees.
The examples that need a REST API run with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import EXAMPLES
from tests.support.asyncapi import EVENT, EVENTS
from tests.support.driving import PYTHON_CLIENT
from tests.support.gateway import ROOT, WAIT, GatewayProcess, receive

PERIODS = "1m 5m 15m 30m 1h 2h 4h 6h 12h 1d 3d 1w".split()
PYTHON_PATH = f"{PYTHON_CLIENT}:{ROOT}"
"""What a reader has installed."""
NOT_SIMULATED = {"<market>.update"}
ORDER = {"event": "place_order", "market": "btcusd", "side": "sell", "price": "20000", "volume": "0.5"}


@pytest.fixture(scope="module")
def simulated(folder: Path) -> Iterator[GatewayProcess]:
    """What `make run` serves."""
    process = GatewayProcess(folder, {}, command=("peatio_ws", "run", "--folder", str(folder / "run")))
    yield process
    process.stop()
    assert not process.tracebacks()


@pytest.fixture(scope="module")
def token(simulated: GatewayProcess) -> str:
    request = urllib.request.Request(f"http://127.0.0.1:{simulated.port}/console/session", method="POST")
    with urllib.request.urlopen(request, timeout=WAIT) as answer:
        return str(json.loads(answer.read())["token"])


def orders_over_rest(gateway: GatewayProcess, token: str, query: str = "") -> list[dict[str, Any]]:
    url = f"http://127.0.0.1:{gateway.port}/api/v2/market/orders{query}"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=WAIT) as answer:
        found: list[dict[str, Any]] = json.loads(answer.read())
        return found


def test_every_event_of_the_simulated_exchange_is_valid(simulated: GatewayProcess, token: str) -> None:
    market = [f"btcusd.{name}" for name in ("trades", "ob-snap", "ob-inc", *(f"kline-{period}" for period in PERIODS))]
    streams = ["order", "trade", "balances", "deposit_address", "global.tickers", *market]
    path = f"private?stream={','.join(streams)}"
    with (
        simulated.connect(path, additional_headers={"Authorization": f"Bearer {token}"}) as ranger,
        simulated.member(token) as classic,
    ):
        seen = set[str]()
        ranger.send(json.dumps({**ORDER, "ord_type": "market", "price": None}))
        ranger.send(json.dumps({"event": "create_deposit_address", "currency": "btc"}))
        while not seen >= {*streams, "balances"}:
            seen.add(checked(receive(ranger)))
        while not seen >= {"orderbook"}:
            seen.add(checked(receive(classic)))
        while checked(receive(classic)) != "trade":
            pass
    known = {name for name in EVENTS["properties"] if name not in ("cursor", *NOT_SIMULATED)}
    assert known <= seen, "no stream of the schema is left out"


def checked(frame: dict[str, Any]) -> str:
    """Return the stream of a frame with an event; an empty text for the others. Raises ValidationError."""
    if "success" in frame:
        return ""
    EVENT.validate(frame)
    return next(iter(frame))


def test_orders_over_rest_are_those_of_the_stream(simulated: GatewayProcess, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    with simulated.connect("private?stream=order", additional_headers=headers) as client:
        client.send(json.dumps(ORDER))
        while (frame := receive(client)).get("order", {}).get("price") != "20000.0":
            pass
        order = frame["order"]
        shown = next(one for one in orders_over_rest(simulated, token, "?state=wait") if one["id"] == order["id"])
        same = (
            "id side ord_type price avg_price state market origin_volume remaining_volume executed_volume trades_count"
        )
        assert {name: shown[name] for name in same.split()} == {name: order[name] for name in same.split()}
        client.send(json.dumps({"event": "cancel_order", "id": order["id"]}))
        while receive(client).get("order", {}).get("state") != "cancel":
            pass
        shown = next(one for one in orders_over_rest(simulated, token) if one["id"] == order["id"])
        assert shown["state"] == "cancel"


class Program:
    """An example that runs by the command in its head, in a folder like a checkout after `make run`; and the lines that
    it has printed.

    Args:
        file: its name, unless the command is that of another one (`runs_as`).
    """

    def __init__(self, file: str, gateway: GatewayProcess, checkout: Path, runs_as: str | None = None) -> None:
        head = (EXAMPLES / (runs_as or file)).read_text()
        shown = re.findall(r"^(?://)? {4,5}((?:env |TOKEN=| {4}ORDERS_URL=).+)$", head, re.MULTILINE)
        command = "\n".join(shown).replace(":8080/", f":{gateway.port}/").replace(str(runs_as), file)
        assert f"examples/{file}" in command
        path = f"{checkout}/.venv/bin:{os.environ['PATH']}"
        self.process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=checkout,
            env={**os.environ, "PATH": path, "PYTHONPATH": PYTHON_PATH, "URL": gateway.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.lines.put(line)

    def line(self) -> str:
        return self.lines.get(timeout=WAIT)

    def close(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(WAIT)
        self._reader.join(WAIT)


@pytest.fixture(scope="module")
def checkout(simulated: GatewayProcess, folder: Path) -> Path:
    place = folder / "checkout"
    place.mkdir()
    (place / ".venv").symlink_to(sys.prefix)
    (place / ".run").symlink_to(folder / "run")
    (place / "examples").symlink_to(EXAMPLES)
    return place


def test_examples_with_orders_read_them_at_their_start(
    simulated: GatewayProcess, token: str, checkout: Path, node_modules: None
) -> None:
    """Each prints an order that was placed before it started, and that no event mentions."""
    with simulated.member(token) as member:
        member.send(json.dumps({**ORDER, "price": "30000"}))
        while (frame := receive(member)).get("orderbook", {}).get("price") != "30000.0":
            pass
    number = str(frame["orderbook"]["id"])
    with contextlib.ExitStack() as running:
        for file, runs_as in (("orders.py", None), ("orders_asyncio.py", "orders.py"), ("orders.mjs", None)):
            program = Program(file, simulated, checkout, runs_as)
            running.callback(program.close)
            picture = json.loads(program.line())
            assert picture[number] == "wait", file
            assert len(picture) >= 2, "the event's order, too"


def test_the_typed_example_prints_every_channel(simulated: GatewayProcess, checkout: Path) -> None:
    program = Program("every_channel.py", simulated, checkout)
    try:
        wanted, said = {"ticker", "market trade", "candle", "book", "change", "order", "trade", "balance"}, list[str]()
        while wanted:
            said.append(program.line())
            assert "Traceback" not in said[-1], "".join(said)
            wanted = {kind for kind in wanted if not said[-1].startswith(f"{kind} ")}
    finally:
        program.close()
