"""Gateways, RabbitMQ and Redis on this machine, and their usage of CPU, network and memory.

Used by `measure.py` and `check.py`. Does not depend on the model.
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
"""All workers together receive at most this in `SETTLE_SECONDS` once they have received all events."""


@dataclass(frozen=True)
class Usage:
    """The usage of a period.

    Attributes:
        seconds: the duration of the period.
        workers: CPU seconds of each worker.
        masters: CPU seconds of gunicorn's masters.
        nodes: CPU seconds of each RabbitMQ node.
        redis: CPU seconds of Redis.
        published: bytes from the publisher to RabbitMQ, including the acknowledgements of the workers.
        consumed: bytes from RabbitMQ to the workers.
        between: bytes between the nodes.
        delivered: bytes from the workers to the clients.
        redis_bytes: bytes between the workers and Redis, in both directions.
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

    def __sub__(self, other: Usage) -> Usage:
        def difference(mine: Any, theirs: Any) -> Any:
            if isinstance(mine, tuple):
                return tuple(one - another for one, another in zip(mine, theirs, strict=True))
            return mine - theirs

        return Usage(
            **{one.name: difference(getattr(self, one.name), getattr(other, one.name)) for one in fields(self)}
        )

    @property
    def gateways(self) -> float:
        """CPU seconds of all processes of the gateways."""
        return sum(self.workers) + self.masters


@contextlib.contextmanager
def busy_cores() -> Iterator[None]:
    """Keep all cores busy with programs that run only when a core has no other work.

    On a core that sleeps between two events, an event costs up to 50 % more. The difference changes from minute to
    minute, because of other programs. On a host near its limit, the cores do not sleep.
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
    """RabbitMQ nodes, Redis, and the keys and certificate of the gateways.

    Args:
        folder: for the files of the servers.
        nodes: number of RabbitMQ nodes; several form a cluster.
        keys: the keys and tokens of the members.
    """

    def __init__(self, folder: Path, nodes: int, keys: tokens.Keys) -> None:
        self.folder, self.keys = folder, keys
        self.certificate = Certificate(folder / "certificate")
        self.nodes, self._opened = list[RabbitMQ](), contextlib.ExitStack()
        try:
            for number in range(nodes):
                node = RabbitMQ(folder / f"rabbitmq-{number}", self.nodes[0] if self.nodes else None)
                self._opened.callback(node.close)  # the first node stops last: all nodes use its epmd
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
    """Gateways that use the servers, and a publisher.

    Args:
        hosts: number of gateways. They are distributed over the RabbitMQ nodes in turn.
        workers: workers per gateway.
        uids: the members that private events are for.
        environ: additional environment variables of the gateways.
        number: distinguishes systems that share servers. Each has its virtual host in RabbitMQ and its Redis database.
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
        # Warm up: the first events cost more.
        self.traffic.publish(Rates(absent=100, unfollowed=100, increments=50), 1.0)

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
        """Open connections of members, and anonymous ones that follow streams, spread evenly over the gateways."""
        with contextlib.ExitStack() as stack:
            opened = []
            for path, count in (("/", members), *((f"/public?stream={name}", n) for name, n in followers.items())):
                if count:
                    group = stack.enter_context(Clients(program, self.servers.keys.tokens, count, self.tls))
                    opened.append(group)
                    for number, gateway in enumerate(self.gateways):
                        share = count * (number + 1) // len(self.gateways) - count * number // len(self.gateways)
                        group.open(gateway.port, path, share, 1)
            yield opened

    def used(self) -> Usage:
        """Return the usage since the processes started, with the current monotonic time as `seconds`."""
        published, consumed, between = self._broker_bytes()
        _, delivered = _bytes([f"sport = :{gateway.port}" for gateway in self.gateways])
        return Usage(
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
        """Return the bytes that AMQP clients sent to the nodes, that the nodes sent to them, and between the nodes.

        All other connections of the nodes are to each other. Each of their bytes is counted once, at the sender.
        """
        clients = [f"sport = :{node.port}" for node in self.servers.nodes]
        received, sent = _bytes(clients)
        if len(self.servers.nodes) == 1:
            return received, sent, 0
        pids = {node.pid for node in self.servers.nodes}
        _, all_sent = _bytes([""], pids)
        return received, sent, all_sent - sent

    def memory(self) -> tuple[int, int, int, int]:
        """Return the memory of the masters, the workers, the RabbitMQ nodes and Redis, in bytes."""
        masters, nodes = [gateway.pid for gateway in self.gateways], [pid for pids in self._nodes for pid in pids]
        groups = (masters, self._workers, nodes, [self.servers.redis.pid])
        one, two, three, four = map(processes.memory_bytes, groups)
        return one, two, three, four

    def load(self, rates: Rates, seconds: float, history: bool = True) -> tuple[Usage, Rates]:
        """Publish for some seconds and wait for the workers. Return the usage and the number of events of each kind."""
        before = self.used()
        counts = self.traffic.publish(rates, seconds)
        least = round(sum(counts) * len(self._workers) * PUBLIC_BYTES) if history else 0
        began = time.monotonic()
        wait_until(
            lambda: not least or self._broker_bytes()[1] - before.consumed >= least,
            "all events have reached the workers",
            pause=0.3,
        )
        late = time.monotonic() - began
        if late > 1:
            print(f"{rates}: the workers received the last event {late:.1f} s late")
        return self._settled() - before, counts

    def _settled(self) -> Usage:
        """Wait until the workers have received all events. Return the usage since the processes started."""
        while True:
            consumed = self._broker_bytes()[1]
            time.sleep(SETTLE_SECONDS)
            used = self.used()
            if used.consumed - consumed < QUIET_BYTES:
                return used


def _bytes(filters: list[str], pids: set[int] | None = None) -> tuple[int, int]:
    """Return the bytes received, and sent and acknowledged, on the open TCP sockets of the filters (see `man ss`)."""
    received = sent = 0
    for expression in filters:
        command = ["ss", "-tinpHO", "state", "established", *([expression] if expression else [])]
        for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
            if pids is None or ((owner := re.search(r"pid=(\d+)", line)) and int(owner[1]) in pids):
                received += _field(line, "bytes_received")
                sent += _field(line, "bytes_acked")
    return received, sent


def _field(line: str, name: str) -> int:
    found = re.search(rf"\b{name}:(\d+)", line)
    return int(found[1]) if found else 0
