"""Operators' commands and limits under load, while gateways restart and Redis is stopped, frozen and started again.

The short forms run in `make test`. `make steering-long` runs them with 1,000 clients and the documented limit for
lateness, and prints the figures.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
import redis as redis_client

from peatio_ws.auth import revocations
from peatio_ws.cluster.operator import Operator
from peatio_ws.cluster.redis_keys import REVOCATIONS_KEY
from tests.support.certificate import Certificate
from tests.support.fronts import ENVIRON, Front, Returning, front
from tests.support.gateway import ROOT, GatewayProcess, Publisher, Signer
from tests.support.proxies import Nginx
from tests.support.servers import RabbitMQ, Redis, wait_until
from tests.support.swarm import Swarm, SwarmClient

CLIENTS = int(os.environ.get("PEATIO_WS_TEST_CLIENTS") or 100)
LONG = CLIENTS >= 1000
LATE = 0.1
"""Seconds by which an event may be later than at a gateway without Redis. Checked in the long form only, which needs a
dedicated machine."""
OUTAGE = 10.0 if LONG else 2.5
"""Seconds for which Redis is frozen, and for which it is down."""
SOON = 5.0
"""Seconds within which everything works again, in the long form."""
RATE = 300 if LONG else 100
"""Orders a second."""
PER_MEMBER = 5
AT_ONCE = 1.0
"""Seconds from the command until the last worker has disconnected the member, in the long form."""
DISCONNECTED = "member disconnected by operator"
AWAY = "Redis is unreachable; continuing without shared state"
BACK = "Redis is reachable again"


@pytest.fixture
def own_redis(folder: Path) -> Iterator[Redis]:
    server = Redis(folder / "redis-to-freeze")
    yield server
    server.kill()


# ---- disconnecting a member during a rolling restart


class Outcast:
    """A member with several connections that reconnects with its token whenever it can."""

    def __init__(self, behind: Front, swarm: Swarm, token: str, connections: int) -> None:
        self._behind, self._swarm, self._token = behind, swarm, token
        self._tried = 0
        self.closed = self.refused = 0
        self.current = [self._join() for _ in range(connections)]

    def _join(self) -> SwarmClient:
        self._tried += 1
        return self._behind.joins(self._swarm, self._token, 100_000 + self._tried)

    @property
    def connected(self) -> int:
        return sum(client.authenticated and not client.ended for client in self.current)

    def reconnect(self) -> None:
        """Replace each connection that was closed or whose token was refused."""
        for number, client in enumerate(self.current):
            if any("Authentication failed." in text for text in client.texts):
                self.refused += 1
            elif client.ended:
                assert client.close is not None, "it received no close frame"
                assert client.close[0] in (1012, 4403), client.close
                self.closed += client.close[0] == 4403
            else:
                continue
            if not client.ended:
                self._swarm.drop([client])
            self.current[number] = self._join()


def test_disconnect_reaches_every_worker_during_a_restart(
    folder: Path, broker: RabbitMQ, own_redis: Redis, signer: Signer
) -> None:
    environ = {**signer.environ, **ENVIRON, "AMQP_URL": broker.url, "REDIS_URL": own_redis.url, "WEB_CONCURRENCY": "2"}
    certificate = Certificate(folder / "steering-certificate")
    with front(Nginx, folder / "nginx-steering", certificate, environ) as behind, Swarm() as swarm:
        others = Returning(behind, swarm, [signer.token(f"ID{number}") for number in range(CLIENTS - 1)])
        out = Outcast(behind, swarm, signer.token("IDOUT", iat=int(time.time()) - 1), 4)
        swarm.until(lambda: out.connected == 4, "the member is connected")
        for number, gateway in enumerate(behind.gateways):
            before = set(gateway.workers())
            os.kill(gateway.pid, signal.SIGHUP)
            command = steer(own_redis, "disconnect", "IDOUT", "--revoke") if number == 0 else None

            def renewed(before: set[int] = before, gateway: GatewayProcess = gateway) -> bool:
                out.reconnect()
                return not before & set(gateway.workers())

            others.until(renewed, "the old workers are gone")
            if command is not None:
                output, _ = command.communicate(timeout=120)
                # A worker that was just exiting may have received the command without answering it.
                assert command.returncode in (0, 4), output
        refused = out.refused
        others.until(lambda: out.reconnect() or out.refused >= refused + 20, "it has tried every worker repeatedly")
        assert out.connected == 0
        with redis_client.Redis.from_url(own_redis.url) as connection:
            (revocation,) = map(revocations.read, connection.zrange(REVOCATIONS_KEY, 0, -1))
        assert revocation is not None
        assert out.closed, "it received a close frame"
        # By the gateways' timestamps: this process is busy with reconnecting clients.
        said = [line for gateway in behind.gateways for line in gateway.events() if line["event"] == DISCONNECTED]
        seconds = max(datetime.fromisoformat(line["timestamp"]).timestamp() for line in said) - revocation.issued
        assert sum(line["closed"] for line in said) == out.closed
        closes = [line["code"] for line in behind.closed()]
        assert closes.count(4403) == out.closed, "another client was closed with 4403"
        assert set(closes) <= {1000, 1005, 1006, 1012, 4403}
        assert others.notified >= CLIENTS - 1
        print(
            f"\n{CLIENTS} clients, {others.notified} told of restarts; disconnected within {seconds * 1000:.0f} ms of "
            f"the command, on {out.closed} connections; refused {out.refused} times since"
        )
        assert seconds < AT_ONCE or not LONG


def steer(redis: Redis, *words: str) -> subprocess.Popen[str]:
    """Run an operator's command."""
    environ = {**os.environ, "REDIS_URL": redis.url}
    command = [sys.executable, "-m", "peatio_ws", *words]
    return subprocess.Popen(command, cwd=ROOT, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


# ---- Redis frozen, stopped and started again


class Timed(SwarmClient):
    """A client that measures how late its orders are; an order's id is the time at which it was published."""

    worst = 0.0
    got = 0

    def read(self) -> None:
        had = len(self.texts)
        super().read()
        now = time.time()
        for text in self.texts[had:]:
            if text.startswith('{"orderbook"'):
                self.got += 1
                self.worst = max(self.worst, now - int(text[19 : text.index(",")]) / 1e6)
        del self.texts[max(had, 4) :]


class Load(threading.Thread):
    """Publishes orders for random members until the block ends."""

    def __init__(self, broker: RabbitMQ, uids: list[str]) -> None:
        super().__init__(daemon=True)
        self._broker, self._uids = broker, uids
        self._over = threading.Event()
        self.sent = 0

    def run(self) -> None:
        with Publisher(self._broker.url, confirm=False) as publisher:
            begun = time.monotonic()
            while not self._over.wait(max(0.0, begun + self.sent / RATE - time.monotonic())):
                publisher.order(random.choice(self._uids), time.time_ns() // 1000)
                self.sent += 1

    def __enter__(self) -> Load:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


class Scene:
    """Members under load, gateways whose Redis fails, and for comparison a gateway without Redis."""

    def __init__(
        self, swarm: Swarm, gateways: list[GatewayProcess], without: GatewayProcess, redis: Redis, signer: Signer
    ) -> None:
        self.swarm, self.gateways, self.redis, self._signer = swarm, gateways, redis, signer
        self.uids = [f"ID{number}" for number in range(CLIENTS)]
        self.members = [Timed(self._port(number), signer.token(uid)) for number, uid in enumerate(self.uids)]
        self._others = [Timed(without.port, signer.token(uid)) for uid in self.uids[:: CLIENTS // 50]]
        everybody = (*self.members, *self._others)
        for client in everybody:
            swarm.join(client)
        swarm.until(lambda: all(client.authenticated for client in everybody), "all are authenticated")
        self._came = 0

    def _port(self, number: int) -> int:
        return self.gateways[number % len(self.gateways)].port

    def connect(self, uid: str) -> SwarmClient:
        """Connect one more client; the gateways take turns."""
        self._came += 1
        client = SwarmClient(self._port(self._came), self._signer.token(uid))
        self.swarm.join(client)
        return client

    @property
    def got(self) -> int:
        """Return how many orders members have received."""
        return sum(client.got for client in self.members)

    def start_timing(self) -> None:
        """Forget how late orders have been so far."""
        for client in (*self.members, *self._others):
            client.worst = 0.0

    def run_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        self.swarm.until(lambda: time.monotonic() > until, "time passes", seconds + 60)

    def latest(self) -> tuple[float, float]:
        """Return by how many seconds the latest order was late, and the same for the gateway without Redis."""
        return max(client.worst for client in self.members), max(client.worst for client in self._others)

    def time_new_member(self) -> float:
        """Connect a new member, whose member id is looked up in Redis. Return how long that took."""
        began = time.monotonic()
        client = self.connect(f"NEW{self._came}")
        self.swarm.until(lambda: client.authenticated, "the member is authenticated")
        return time.monotonic() - began

    def time_recovery(self) -> tuple[float, float]:
        """Return the seconds until commands work, and until limits hold across gateways."""
        began, answered = time.monotonic(), threading.Event()
        threading.Thread(target=self._ask_until_all_answer, args=[answered], daemon=True).start()
        self.swarm.until(answered.is_set, "every worker answers")
        steered = time.monotonic() - began
        uid = f"MANY{self._came}"
        many = [self.connect(uid) for _ in range(PER_MEMBER + 1)]  # no single gateway has too many
        self.swarm.until(lambda: sum(client.ended for client in many) == 1, "one connection is refused")
        assert [client.close for client in many if client.ended] == [(1013, "too many connections of this member")]
        limited = time.monotonic() - began
        self.swarm.drop(many)
        return steered, limited

    def _ask_until_all_answer(self, answered: threading.Event) -> None:
        workers = sum(len(gateway.workers()) for gateway in self.gateways)
        while not answered.is_set():
            operator = Operator(self.redis.url)
            try:
                if len(operator.who("NOBODY").answers) == workers:
                    answered.set()
            except (redis_client.RedisError, OSError):
                time.sleep(0.02)
            finally:
                operator.close()


@pytest.fixture
def scene(start: Callable[..., GatewayProcess], own_redis: Redis, signer: Signer) -> Iterator[Scene]:
    limit = {"WEBSOCKET_MAX_CONNECTIONS_PER_MEMBER": str(PER_MEMBER)}
    gateways = [start(REDIS_URL=own_redis.url, WEB_CONCURRENCY=workers, **limit) for workers in ("2", "1")]
    with Swarm() as swarm:
        yield Scene(swarm, gateways, start(), own_redis, signer)


def test_redis_outage_affects_no_client_and_commands_work_again(scene: Scene, broker: RabbitMQ) -> None:
    redis = scene.redis
    with Load(broker, scene.uids) as load:
        scene.run_for(0.5)
        for how, begin, end in (("frozen", redis.freeze, redis.thaw), ("stopped", redis.kill, redis.start)):
            scene.start_timing()
            begin()
            first = scene.time_new_member()
            scene.run_for(OUTAGE)
            later = min(scene.time_new_member() for _ in range(3))  # each client would wait, if any waits for Redis
            sent = load.sent
            scene.swarm.until(lambda sent=sent: scene.got >= sent, "every order sent without Redis has arrived")
            end()  # orders and clients that came before this did not wait for Redis
            steered, limited = scene.time_recovery()
            scene.run_for(1.0)
            worst, without = scene.latest()
            print(
                f"\nredis {how} for {OUTAGE:g} s, {CLIENTS} clients, {RATE} orders a second: the latest was "
                f"{worst * 1000:.0f} ms late ({without * 1000:.0f} ms without redis); new members authenticated after "
                f"{first * 1000:.0f} ms at first, {later * 1000:.0f} ms later; commands work again after "
                f"{steered:.2f} s, limits after {limited:.2f} s"
            )
            if LONG:
                assert worst < without + LATE
                assert later < 1.0, "a new client waited for Redis"
                assert max(steered, limited) < SOON
    scene.swarm.until(lambda: scene.got == load.sent, "every order has arrived")
    assert not any(client.ended for client in scene.members), "a client was disconnected"
    for gateway in scene.gateways:
        wait_until(
            lambda gateway=gateway: times(gateway, AWAY) == times(gateway, BACK), "every worker has reached Redis again"
        )
        # Every worker logs both outages; on a slow machine it may log another short one in between.
        assert times(gateway, AWAY) >= 2 * len(gateway.workers())
        assert not gateway.tracebacks()


def times(gateway: GatewayProcess, event: str) -> int:
    """Return how often the gateway's log contains an event."""
    return sum(line["event"] == event for line in gateway.events())
