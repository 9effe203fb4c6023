"""Gateways, RabbitMQ and Redis on this machine, and readings of what they have used: CPU, bytes on each line, memory.

Used by `measure.py` and `check.py`. Knows nothing of the model.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from bench import processes, tokens
from bench.clients import Clients
from bench.scale.traffic import PUBLIC_BYTES, Rates, Traffic
from tests.support.certificate import Certificate
from tests.support.gateway import GatewayProcess, forget_history
from tests.support.servers import RabbitMQ, Redis, wait_until

SETTLE_SECONDS: Final = 0.3
QUIET_BYTES: Final = 200
"""Workers that receive no more than this in `SETTLE_SECONDS` have received all events."""


@dataclass(frozen=True)
class Used:
    """What was used in some time.

    Attributes:
        seconds: how long it was.
        workers: CPU seconds of each worker.
        masters: CPU seconds of gunicorn's masters.
        nodes: CPU seconds of each RabbitMQ node.
        redis: CPU seconds.
        published: bytes from the publisher to RabbitMQ, and acknowledgements of the workers.
        consumed: bytes from RabbitMQ to the workers.
        between: bytes between the nodes.
        delivered: bytes from the workers to the clients.
        redis_bytes: bytes between the workers and Redis, both ways.
    """

    seconds: float
    workers: tuple[float, ...]
    masters: float
    nodes: tuple[float, ...]
    redis: float
    published: int
    consumed: int
    between: int
    delivered: int
    redis_bytes: int

    def __sub__(self, other: Used) -> Used:
        def less(mine: Any, theirs: Any) -> Any:
            if isinstance(mine, tuple):
                return tuple(one - another for one, another in zip(mine, theirs, strict=True))
            return mine - theirs

        return Used(**{one.name: less(getattr(self, one.name), getattr(other, one.name)) for one in fields(self)})

    @property
    def gateways(self) -> float:
        """CPU seconds of all processes of the gateways."""
        return sum(self.workers) + self.masters


@contextlib.contextmanager
def busy_cores() -> Iterator[None]:
    """Keep all cores busy with programs that run only when no other one does.

    On a core that sleeps between two events, an event costs up to half as much again, and more or less from minute to
    minute, because of other programs. A host near its limit has cores that do not sleep.
    """
    spin = [
        sys.executable,
        "-c",
        "import os\nos.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\nwhile True: 0",
    ]
    spinners = [subprocess.Popen(spin) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


class Servers:
    """RabbitMQ nodes, Redis, and what gateways need from files.

    Args:
        folder: for their files.
        nodes: how many nodes the cluster has.
        keys: of the members' tokens.
    """

    def __init__(self, folder: Path, nodes: int, keys: tokens.Keys) -> None:
        self.folder, self.keys = folder, keys
        self.certificate = Certificate(folder / "certificate")
        self.nodes, self._opened = list[RabbitMQ](), contextlib.ExitStack()
        try:
            for number in range(nodes):
                node = RabbitMQ(folder / f"rabbitmq-{number}", self.nodes[0] if self.nodes else None)
                self._opened.callback(node.close)  # the first one, whose epmd all use, ends last
                self.nodes.append(node)
            self.redis = Redis(folder / "redis")
            self._opened.callback(self.redis.kill)
        except BaseException:
            self._opened.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()


class System:
    """Gateways at these servers, and a publisher.

    Args:
        hosts: gateways. The i-th one connects to the i-th node, and so on in turns.
        workers: of each gateway.
        uids: members to whom private events belong.
        environ: more variables of the gateways.
        number: tells systems at the same servers apart; each has a virtual host and a database of Redis.
    """

    def __init__(
        self,
        servers: Servers,
        hosts: int,
        workers: int,
        uids: list[str],
        tls: bool = False,
        environ: Mapping[str, str] | None = None,
        number: int = 0,
    ) -> None:
        self.servers, self.tls, self._number, self._opened = servers, tls, number, contextlib.ExitStack()
        self.gateways = list[GatewayProcess]()
        if number:
            servers.nodes[0].ctl("add_vhost", f"scale{number}")
            servers.nodes[0].ctl("set_permissions", "-p", f"scale{number}", "guest", ".*", ".*", ".*")
        forget_history(self._url(servers.nodes[0]))
        try:
            for host in range(hosts):
                gateway = self._gateway(host, workers, environ or {})
                self._opened.callback(gateway.stop)
                self.gateways.append(gateway)
            self.traffic = Traffic(self._url(servers.nodes[0]), uids)
            self._opened.callback(self.traffic.close)
        except BaseException:
            self._opened.close()
            raise
        self._workers = [pid for gateway in self.gateways for pid in gateway.workers()]
        self._nodes = [processes.tree(node.pid) for node in servers.nodes]
        self.traffic.snapshot()
        self.traffic.publish(Rates(absent=100, unfollowed=100, increments=50), 1.0)  # the first events cost more

    def _url(self, node: RabbitMQ) -> str:
        return f"{node.url.removesuffix('/')}scale{self._number}" if self._number else node.url

    def _gateway(self, host: int, workers: int, environ: Mapping[str, str]) -> GatewayProcess:
        nodes = self.servers.nodes
        first = host % len(nodes)
        urls = map(self._url, nodes[first:] + nodes[:first])
        certificate = self.servers.certificate.environ if self.tls else {}
        public = base64.b64encode(self.servers.keys.public_key.read_bytes()).decode()
        return GatewayProcess(
            self.servers.folder,
            {
                "AMQP_URL": ";".join(urls),
                "REDIS_URL": f"redis://127.0.0.1:{self.servers.redis.port}/{self._number}",
                "JWT_PUBLIC_KEY": public,
                "JWT_ALGORITHM": "RS256",
                "JWT_AUDIENCE": "peatio",
                "JWT_ISSUER": "barong",
                "WEB_CONCURRENCY": str(workers),
                "WEBSOCKET_MAX_CONNECTIONS": "100000",
                "WEBSOCKET_DRAIN_SECONDS": "0.1",
                "LOG_LEVEL": "warning",
                **certificate,
                **environ,
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    @contextlib.contextmanager
    def clients(self, program: Path, members: int, followers: Mapping[str, int]) -> Iterator[list[Clients]]:
        """Open authenticated members, and anonymous followers of streams, spread over the gateways."""
        with contextlib.ExitStack() as stack:
            found = []
            for path, count in (("/", members), *((f"/public?stream={name}", n) for name, n in followers.items())):
                if count:
                    some = stack.enter_context(Clients(program, self.servers.keys.tokens, count, self.tls))
                    found.append(some)
                    for number, gateway in enumerate(self.gateways):
                        share = count * (number + 1) // len(self.gateways) - count * number // len(self.gateways)
                        some.open(gateway.port, path, share, 1)
            yield found

    def used(self) -> Used:
        """Return what has been used since the start."""
        published, consumed, between = self._broker_bytes()
        _, delivered = _bytes([f"sport = :{gateway.port}" for gateway in self.gateways])
        return Used(
            time.monotonic(),
            tuple(processes.cpu_seconds([pid]) for pid in self._workers),
            processes.cpu_seconds([gateway.pid for gateway in self.gateways]),
            tuple(processes.cpu_seconds(pids) for pids in self._nodes),
            processes.cpu_seconds([self.servers.redis.pid]),
            published,
            consumed,
            between,
            delivered,
            sum(_bytes([f"sport = :{self.servers.redis.port}"])),
        )

    def _broker_bytes(self) -> tuple[int, int, int]:
        """Return the bytes to the nodes from their AMQP clients, from them, and between nodes.

        The nodes are the other ends of all connections that they open or accept on other ports, so each byte between
        them is sent once.
        """
        clients = [f"sport = :{node.port}" for node in self.servers.nodes]
        received, sent = _bytes(clients)
        if len(self.servers.nodes) == 1:
            return received, sent, 0
        pids = {node.pid for node in self.servers.nodes}
        _, all_sent = _bytes([""], pids)
        return received, sent, all_sent - sent

    def memory(self) -> tuple[int, int, int, int]:
        """Return the bytes of memory of the masters, of all workers, of all nodes, and of Redis."""
        masters, nodes = [gateway.pid for gateway in self.gateways], [pid for pids in self._nodes for pid in pids]
        groups = (masters, self._workers, nodes, [self.servers.redis.pid])
        one, two, three, four = map(processes.memory_bytes, groups)
        return one, two, three, four

    def load(self, rates: Rates, seconds: float, history: bool = True) -> tuple[Used, Rates]:
        """Publish for some seconds. Return what was used meanwhile, and the number of events of each kind."""
        before = self.used()
        counts = self.traffic.publish(rates, seconds)
        least = round(sum(counts) * len(self._workers) * PUBLIC_BYTES) if history else 0
        began = time.monotonic()
        wait_until(
            lambda: not least or self._broker_bytes()[1] - before.consumed >= least,
            "workers have all events",
            pause=0.3,
        )
        late = time.monotonic() - began
        if late > 1:
            print(f"{rates}: the last event came {late:.1f} s late")
        return self._settled() - before, counts

    def _settled(self) -> Used:
        """Return what has been used when the workers have received everything."""
        while True:
            consumed = self._broker_bytes()[1]
            time.sleep(SETTLE_SECONDS)
            used = self.used()
            if used.consumed - consumed < QUIET_BYTES:
                return used


def _bytes(filters: list[str], pids: set[int] | None = None) -> tuple[int, int]:
    """Return the bytes received and sent by all open TCP sockets of these filters (see `man ss`), as TCP counts."""
    received = sent = 0
    for words in filters:
        command = ["ss", "-tinpHO", "state", "established", *([words] if words else [])]
        for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
            if pids is None or ((owner := re.search(r"pid=(\d+)", line)) and int(owner[1]) in pids):
                received += _field(line, "bytes_received")
                sent += _field(line, "bytes_acked")
    return received, sent


def _field(line: str, name: str) -> int:
    found = re.search(rf"\b{name}:(\d+)", line)
    return int(found[1]) if found else 0
