"""How attacks affect members: one attack after the other, while 200 members receive their orders.

    python -m tests.programs.attack [--root CHECKOUT] [--steps 10,100,1000] [--seconds 2] [--only pongs,texts] [--plain]
        [--control]

Each attack meets a new gateway, first without attackers, then with each number of connections (`--steps`). Prints a
table: how long an order takes from the publisher to its member, and what it costs the worker. `--root` measures the
gateway of another checkout. All of it takes about ten minutes; nothing else should run on the machine.

Attackers, broker and members share the machine with the gateway, so part of a latency is the machine's. `--control`
shows how much: it first attacks another gateway, which the members do not use.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import resource
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

from tests.support import progress
from tests.support.attacks import ATTACKS, ONLY_TLS, OVER_TLS, Given, as_json
from tests.support.certificate import Authority
from tests.support.gateway import ROOT, GatewayProcess, Publisher, Signer, resume
from tests.support.servers import RabbitMQ, scratch, wait_until
from tests.support.swarm import Swarm, SwarmClient

MEMBERS = 200
ORDERS_A_SECOND = 200.0
STEPS = (10, 100, 1000)
TLS_STEPS = (100,)
SECONDS = 2.0
PROCESSES = 2
MISSED = 200
"""Number of orders that a replaying attacker has missed."""
LATE_SECONDS = 2.0
"""Time limit for orders that have not arrived when the period is over."""
GONE_SECONDS = 10.0
"""Time within which the gateway has to forget attackers that have disconnected."""
SETTINGS: dict[str, dict[str, str]] = {"names that come and go": {"WEBSOCKET_BOOKS": "ob"}}
"""Additional settings of the gateway for some attacks: with these it binds stream names one by one."""
_TICK = 1 / os.sysconf("SC_CLK_TCK")


@dataclass
class Found:
    """Measurements of one period."""

    seconds: list[float] = field(default_factory=list)
    lost: int = 0
    megabytes: float = 0.0
    cpu: float = 0.0
    closes: Counter[str] = field(default_factory=Counter)

    def at(self, part: float) -> float:
        """Return the latency in ms that this share of the orders did not exceed."""
        if not self.seconds:
            return float("inf")
        return sorted(self.seconds)[min(len(self.seconds) - 1, int(len(self.seconds) * part))] * 1000


class Members:
    """Honest members on one gateway, and the publisher of their orders; all in this thread."""

    def __init__(self, gateway: GatewayProcess, url: str, signer: Signer, tls: Any, count: int = MEMBERS) -> None:
        self._gateway, self._stack = gateway, contextlib.ExitStack()
        self.publisher = self._stack.enter_context(Publisher(url, confirm=False))
        self._swarm = self._stack.enter_context(Swarm())
        self._names = [f"IDHONEST{number}" for number in range(count)]
        for name in self._names:
            self._swarm.join(SwarmClient(gateway.port, signer.token(name), tls=tls))
        clients = self._swarm.clients
        self._swarm.until(lambda: all(one.authenticated for one in clients), "the members have authenticated")
        self._number = 0

    def close(self) -> None:
        self._stack.close()

    @property
    def all_authenticated(self) -> bool:
        return not any(client.ended for client in self._swarm.clients)

    def measure(self, seconds: float, late: float = LATE_SECONDS) -> Found:
        """Publish orders at a steady rate and measure when they arrive."""
        found, due = Found(), dict[int, float]()
        (worker,) = self._gateway.workers()
        closes, used = closes_by_code(self._gateway), _cpu(worker)
        began = time.monotonic()
        for number in range(round(seconds * ORDERS_A_SECOND)):
            at = began + number / ORDERS_A_SECOND
            while (left := at - time.monotonic()) > 0:
                self._take(due, found, left)
            self._number += 1
            due[self._number] = at  # the planned time: an order that is published late has waited already
            self.publisher.order(self._names[self._number % len(self._names)], self._number)
        elapsed = time.monotonic() - began
        found.cpu, found.megabytes = (_cpu(worker) - used) / elapsed, _megabytes(worker)
        until = time.monotonic() + late
        while due and time.monotonic() < until:
            self._take(due, found, 0.05)
        found.lost = len(due)
        found.closes = closes_by_code(self._gateway) - closes
        return found

    def _take(self, due: dict[int, float], found: Found, wait: float) -> None:
        self._swarm.turn(wait)
        now = time.monotonic()
        for client in self._swarm.clients:
            for frame in client.texts:
                if frame.startswith('{"orderbook"'):
                    began = due.pop(json.loads(frame)["orderbook"]["id"], None)
                    if began is not None:
                        found.seconds.append(now - began)
            client.texts.clear()


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK


def _megabytes(pid: int) -> float:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(rollup.split("Pss:")[1].split()[0]) / 1024


def closes_by_code(gateway: GatewayProcess) -> Counter[str]:
    """Return how connections and handshakes have ended so far, by code."""
    found: Counter[str] = Counter()
    for line in gateway.operators("/metrics")[1].splitlines():
        if line.startswith(("peatio_ws_closes_total{", "peatio_ws_refused_handshakes_total{")):
            found[line.split('"')[-2]] += int(float(line.rpartition(" ")[2]))
    return found


class Ground:
    """A broker, keys and certificates for attacks on gateways.

    Args:
        root: the checkout whose gateway is attacked.
    """

    def __init__(self, folder: Path, broker: RabbitMQ, root: Path = ROOT) -> None:
        self._folder, self._broker, self._root = folder, broker, root
        self.signer = Signer("ES256")
        self._authority = Authority(folder / "attack-tls")
        self._cert, self._key = self._authority.issue("gateway", "localhost", "127.0.0.1")

    @contextlib.contextmanager
    def gateway(self, tls: bool, environ: Mapping[str, str]) -> Iterator[GatewayProcess]:
        settings = {"PYTHONPATH": str(self._root), "LOG_LEVEL": "warning", "AMQP_URL": self._broker.url}
        settings |= {"AMQP_HISTORY_QUEUE": f"attack-{os.getpid()}-{time.monotonic_ns()}", **self.signer.environ}
        if tls:
            settings |= {"WEBSOCKET_SSL_CERT": str(self._cert), "WEBSOCKET_SSL_KEY": str(self._key)}
        gateway = GatewayProcess(self._folder, {**settings, **environ}, cwd=self._root)
        try:
            yield gateway
        finally:
            gateway.kill()

    @contextlib.contextmanager
    def members(self, gateway: GatewayProcess, tls: bool, count: int = MEMBERS) -> Iterator[Members]:
        context = self._context() if tls else None
        members = Members(gateway, self._broker.url, self.signer, context, count)
        try:
            yield members
        finally:
            members.close()

    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self._authority.cert))

    def known(self, gateway: GatewayProcess, members: Members, tls: bool) -> Given:
        """Return tokens, and a cursor of a member that has missed `MISSED` orders since."""
        token = self.signer.token
        known = {
            "good": token("IDSTRANGER"),
            "expired": token("IDSTRANGER", exp=1),
            "forged": Signer("ES256").token("IDSTRANGER"),
            "huge": token("IDSTRANGER", note="x" * 11_000),
            "cursor": "",
        }
        options: dict[str, Any] = {"ssl": self._context()} if tls else {}
        scheme, rest = "wss" if tls else "ws", gateway.url.partition("://")[2].replace("127.0.0.1", "localhost")
        with connect(f"{scheme}://{rest}", **options) as client:
            known["cursor"] = resume(client, known["good"])["cursor"]
        for number in range(MISSED):
            members.publisher.order("IDSTRANGER", -number - 1)
        return known


@contextlib.contextmanager
def attacked(
    gateway: GatewayProcess,
    attacks: list[str],
    connections: int,
    known: Given,
    tls: bool,
    processes: int = PROCESSES,
    idle: bool = True,
) -> Iterator[list[dict[str, int]]]:
    """Attack until the block ends. The yielded list then contains the counts of each attacking process.

    Args:
        idle: whether they run only while a core is idle, so that the times of members are those of the gateway. They
            hardly run next to programs that use all cores.
    """
    crowds, counts = [], list[dict[str, int]]()
    share = -(-connections // processes)
    for first in range(0, connections, share):
        orders = {
            "port": gateway.port,
            "attacks": attacks,
            "first": first,
            "connections": min(share, connections - first),
            "given": json.loads(as_json(known)),
            "tls": tls,
            "idle": idle,
        }
        command = [sys.executable, "-m", "tests.support.attackers", json.dumps(orders)]
        crowds.append(subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    try:
        for crowd in crowds:
            assert crowd.stdout is not None
            assert crowd.stdout.readline() == "ready\n", "attackers failed"
        yield counts
        for crowd in crowds:
            counts.append(json.loads(crowd.communicate("", timeout=60)[0]))
    finally:
        for crowd in crowds:
            crowd.kill()
            crowd.wait()


@dataclass
class Row:
    """One line of the table."""

    attack: str
    connections: int
    found: Found
    quiet: Found

    def __str__(self) -> str:
        found, quiet = self.found, self.quiet
        times = found.at(0.99) / quiet.at(0.99)
        closes = ", ".join(f"{count} by {code}" for code, count in sorted(found.closes.items()) if count)
        return (
            f"| {self.attack} | {self.connections:,} | {found.at(0.5):.1f} | {found.at(0.99):.1f} | {times:.1f} | "
            f"{found.at(1):.0f} | {found.lost} | {found.megabytes:.0f} | {100 * found.cpu:.0f} | {closes} |"
        )


HEADING = (
    "| attack | connections | p50, ms | p99, ms | p99, times that without | longest, ms | not within 2 s | "
    "worker, MB | CPU, % | ended |\n| --- | --: | --: | --: | --: | --: | --: | --: | --: | --- |"
)


def measured(
    ground: Ground, attack: str, steps: tuple[int, ...], tls: bool, seconds: float, control: bool = False
) -> Iterator[Row]:
    """Run one attack against a new gateway. Return a row without attackers and one or two for each step."""
    name = f"{attack}, TLS" if tls else attack
    with contextlib.ExitStack() as stack:
        gateway = stack.enter_context(ground.gateway(tls, SETTINGS.get(attack, {})))
        other = stack.enter_context(ground.gateway(tls, SETTINGS.get(attack, {}))) if control else None
        members = stack.enter_context(ground.members(gateway, tls))
        known = ground.known(gateway, members, tls)
        members.measure(0.5)  # warm up first
        quiet = members.measure(seconds)
        yield Row(f"none (before {name})", 0, quiet, quiet)
        for connections in steps:
            for target in (other, gateway):
                if target is None:
                    continue
                progress.tell(f"{name}, {connections} connections")
                with attacked(target, [attack], connections, known, tls):
                    found = members.measure(seconds)
                yield Row(name if target is gateway else f"{name} (at another gateway)", connections, found, quiet)
                with contextlib.suppress(TimeoutError):
                    wait_until(functools.partial(_is_quiet, target), "the attackers have gone", GONE_SECONDS)


def _is_quiet(gateway: GatewayProcess) -> bool:
    return gateway.total("peatio_ws_connections") <= MEMBERS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.programs.attack", description=__doc__.split("\n")[0])
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout whose gateway is attacked")
    parser.add_argument("--steps", default=",".join(map(str, STEPS)))
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--only", default="", help="comma list of attacks")
    parser.add_argument("--plain", action="store_true", help="nothing over TLS")
    parser.add_argument("--control", action="store_true", help="attack another gateway first: what the machine does")
    options = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    steps = tuple(map(int, options.steps.split(",")))
    chosen = [name.strip() for name in options.only.split(",") if name.strip()] or list(ATTACKS)
    if unknown := [name for name in chosen if name not in ATTACKS]:
        parser.error(f"no such attack: {', '.join(unknown)}; there are {', '.join(ATTACKS)}")
    tests = [(name, False) for name in chosen if name not in ONLY_TLS]
    if not options.plain:
        tests += [(name, True) for name in OVER_TLS if name in chosen]
    began = time.monotonic()
    print(HEADING, flush=True)
    with scratch() as folder:
        broker = RabbitMQ(folder / "rabbitmq")
        try:
            ground = Ground(folder, broker, options.root.resolve())
            for name, tls in tests:
                try:
                    chosen_steps = TLS_STEPS if tls else steps
                    for row in measured(ground, name, chosen_steps, tls, options.seconds, options.control):
                        progress.end()
                        print(row, flush=True)
                except (AssertionError, OSError, TimeoutError) as error:
                    print(f"| {name} | | | | | | | | | failed: {str(error)[:80]} |", flush=True)
        finally:
            broker.close()
    print(f"\n{time.monotonic() - began:.0f} s; the gateway of {options.root}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
