"""Public trades across a cut, on the clients of `clients/`: none missing and none twice, or the client is told."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Final

import pytest
from websockets.sync.client import ClientConnection

from tests.support.driving import COMMANDS, Driven, Line
from tests.support.followers import UNPINGED
from tests.support.gateway import WAIT, GatewayProcess, Publisher
from tests.support.raw_client import RawClient
from tests.support.servers import RabbitMQ

STREAM: Final = "cutusd.trades"
PUBLIC: Final = f"public?stream={STREAM}"
TURNS: Final = 6


@pytest.fixture
def drive(node_modules: None) -> Iterator[Callable[[Line], list[Driven]]]:
    """Starts a client of each kind over a line, and waits until all are connected."""
    with contextlib.ExitStack() as running:

        def start_all(line: Line) -> list[Driven]:
            clients = [
                Driven(language, line.url + "public", streams=[STREAM], on=STREAM, until=0) for language in COMMANDS
            ]
            for client in clients:
                running.callback(client.close)
            for client in clients:
                client.wait_for("connected")
            return clients

        yield start_all


def publish(publisher: Publisher, numbers: range) -> None:
    for number in numbers:
        publisher.event(f"public.{STREAM}", {"id": number})


def wait_at(witness: ClientConnection, number: int) -> None:
    """Wait until a client that stays connected has received this trade: so the worker has it."""
    while f'"id": {number}}}' not in str(witness.recv(timeout=WAIT)):
        pass


@pytest.mark.parametrize("other_host", [False, True])
def test_trades_of_the_meantime_follow_on_the_same_host_and_on_another(
    start: Callable[..., GatewayProcess],
    publisher: Publisher,
    drive: Callable[[Line], list[Driven]],
    other_host: bool,
) -> None:
    gateways = [start() for _ in range(1 + other_host)]
    line = Line(gateways[0].port)
    with contextlib.ExitStack() as connected:
        witnesses = [connected.enter_context(gateway.connect(PUBLIC)) for gateway in gateways]
        for witness in witnesses:
            assert "success" in str(witness.recv(timeout=WAIT))
        clients = drive(line)
        last = 0
        for turn in range(1, 4):
            publish(publisher, range(last + 1, last + 21))
            for client in clients:
                client.wait_for_order(last + 20)
            line.closed = True
            line.cut()
            publish(publisher, range(last + 21, last + 21 + 30 * (turn - 1)))  # none in the first turn
            line.to = gateways[turn % len(gateways)].port
            last += 20 + 30 * (turn - 1)
            for witness in witnesses:
                wait_at(witness, last)
            line.closed = False
            for client in clients:
                client.wait_for("connected", turn + 1)
        publish(publisher, range(last + 1, last + 2))
        for client in clients:
            client.wait_for_order(last + 1)
            assert client.orders == list(range(1, last + 2))
            assert client.all("missed") == []
    line.end()


def test_trades_that_nobody_kept_are_reported(
    start: Callable[..., GatewayProcess], publisher: Publisher, drive: Callable[[Line], list[Driven]]
) -> None:
    """More of them than are kept, and then on a host that has seen none."""
    gateway, other = start(), start()
    line = Line(gateway.port)
    with gateway.connect(PUBLIC) as witness:
        clients = drive(line)
        publish(publisher, range(1, 11))
        for client in clients:
            client.wait_for_order(10)
        line.closed = True
        line.cut()
        publish(publisher, range(11, 112))
        wait_at(witness, 111)
        line.closed = False
        for client in clients:
            client.wait_for("missed")
        publish(publisher, range(112, 122))
        for client in clients:
            client.wait_for_order(121)
        line.to = other.port
        line.cut()
        for client in clients:
            client.wait_for("missed", 2)
        publish(publisher, range(122, 123))
        for client in clients:
            client.wait_for_order(122)
            assert client.orders == [*range(1, 11), *range(112, 123)]
            told = [name for name, _ in client.told if name in ("event", "missed")]
            assert told == ["event"] * 10 + ["missed"] + ["event"] * 10 + ["missed", "event"]
    line.end()


def test_client_that_is_alone_receives_the_trades_of_the_meantime(
    start: Callable[..., GatewayProcess], publisher: Publisher
) -> None:
    """The worker goes on to receive the stream for a while."""
    gateway = start(WEBSOCKET_BOOKS="ob")
    with gateway.connect(f"{PUBLIC}&marks=1") as client:
        assert "success" in str(client.recv(timeout=WAIT))
        publish(publisher, range(1, 11))
        mark = [json.loads(client.recv(timeout=WAIT)) for _ in range(10)][-1]["mark"]
    with gateway.connect("public?stream=otherusd.trades") as witness:
        assert "success" in str(witness.recv(timeout=WAIT))
        publish(publisher, range(11, 14))
        publisher.event("public.otherusd.trades", {"id": 1})
        wait_at(witness, 1)
        with gateway.connect(f"{PUBLIC}&after={STREAM}:{mark}") as client:
            assert json.loads(client.recv(timeout=WAIT))["complete"] == {STREAM: True}
            assert [json.loads(client.recv(timeout=WAIT))[STREAM]["id"] for _ in range(3)] == [11, 12, 13]


def follower(gateway: GatewayProcess) -> RawClient:
    """Return a client that follows the trades, and reads none of them."""
    client = RawClient(gateway.port)
    assert client.request({}, f"GET /{PUBLIC} HTTP/1.1").status == 101
    return client


class Trading:
    """Trades of two publishers at once, until it is stopped: even and odd numbers.

    Attributes:
        published: the last number of each.
    """

    def __init__(self, broker: RabbitMQ) -> None:
        self.published = [0, 0]
        self._broker, self._stop = broker, threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(index,)) for index in (0, 1)]

    def _run(self, index: int) -> None:
        with Publisher(self._broker.url) as publisher:
            for number in itertools.count(2 + index, 2):
                if self._stop.wait(0.1):
                    break
                publish(publisher, range(number, number + 1))
                self.published[index] = number

    def __enter__(self) -> Trading:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(WAIT)


def test_no_trade_is_lost_silently_or_repeated_whatever_ends(
    start: Callable[..., GatewayProcess],
    broker: RabbitMQ,
    publisher: Publisher,
    drive: Callable[[Line], list[Driven]],
) -> None:
    """Connections are cut, workers are killed and clients move to another host, while two publishers trade."""
    gateways, chance = [start(WEB_CONCURRENCY="2", **UNPINGED) for _ in range(2)], random.Random(19)
    line, answers = Line(gateways[0].port), dict[str, int]()

    def cut() -> None:
        line.cut()

    def kill_a_worker() -> None:
        (gateway,) = [gateway for gateway in gateways if gateway.port == line.to]
        os.kill(chance.choice(gateway.workers()), signal.SIGKILL)
        line.cut()

    def move() -> None:
        line.to = next(gateway.port for gateway in gateways if gateway.port != line.to)
        line.cut()

    clients = drive(line)
    with contextlib.ExitStack() as staying, Trading(broker) as trading:
        for gateway in gateways:  # so that nearly all workers keep the trades, whichever the clients come to
            for _ in range(6):
                staying.callback(follower(gateway).drop)
        for turn, harm in enumerate([cut, kill_a_worker, move] * (TURNS // 3), 2):
            wait_for_trade(clients, max(trading.published) + 20)
            harm()
            for client in clients:
                client.wait_for("connected", turn)
    last = [number + 2 for number in trading.published]
    for number in last:
        publish(publisher, range(number, number + 1))
    for client in clients:
        for number in last:
            client.wait_for_order(number)
        check(client, last, answers)
    line.end()
    print(answers, "trades published:", sum(last) // 2)
    assert answers["returned"] >= len(clients) * TURNS


def wait_for_trade(clients: list[Driven], number: int) -> None:
    for client in clients:
        client.wait(lambda client=client: max(client.orders, default=0) >= number, f"trade {number}")  # type: ignore[misc]


def check(client: Driven, published: list[int], answers: dict[str, int]) -> None:
    """Check that each publisher's trades came in order and once, and that where some lack, the client was told."""
    for parity in (0, 1):
        last, told = None, False
        for name, what in client.told:
            if name == "missed":
                told = True
            elif name == "event" and what % 2 == parity:
                assert last is None or what == last + 2 or (told and what > last), (client.language, last, what)
                last, told = what, False
        assert last == published[parity]
    answers["returned"] = answers.get("returned", 0) + len(client.all("disconnected"))
    answers["reported"] = answers.get("reported", 0) + len(client.all("missed"))
