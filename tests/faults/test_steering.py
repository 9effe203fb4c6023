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
from peatio_ws.cli.operator import Operator, new_question
from peatio_ws.cluster.commands import WhoCommand
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
"""Seconds by which no event may be later than at a gateway without Redis: guaranteed on a dedicated machine, which the
long form has."""
TROUBLE = 10.0 if LONG else 2.5
"""Seconds of Redis frozen, and of Redis gone."""
SOON = 5.0
"""Seconds in which all works again, in the long form."""
RATE = 300
PER_MEMBER = 5
AT_ONCE = 1.0
"""Seconds from the command to the last of the workers that hung up, in the long form."""
DISCONNECTED = "member disconnected by operator"
AWAY = "Redis is unreachable; continuing without shared state"
BACK = "Redis is reachable again"


@pytest.fixture
def own_redis(folder: Path) -> Iterator[Redis]:
    server = Redis(folder / "redis-to-freeze")
    yield server
    server.kill()


# ---- a rolling restart, and one member is out


class Outcast:
    """A member with several connections that comes back with its token whenever it can."""

    def __init__(self, behind: Front, swarm: Swarm, token: str, connections: int) -> None:
        self._behind, self._swarm, self._token = behind, swarm, token
        self._tried = 0
        self.closed = self.refused = 0
        self.current = [self._join() for _ in range(connections)]

    def _join(self) -> SwarmClient:
        self._tried += 1
        return self._behind.joins(self._swarm, self._token, 100_000 + self._tried)

    @property
    def inside(self) -> int:
        return sum(client.authenticated and not client.ended for client in self.current)

    def look(self) -> None:
        """Come back wherever it was closed, and give up where it was refused."""
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


def test_disconnect_reaches_one_member_everywhere_during_a_restart(
    folder: Path, broker: RabbitMQ, own_redis: Redis, signer: Signer
) -> None:
    environ = {**signer.environ, **ENVIRON, "AMQP_URL": broker.url, "REDIS_URL": own_redis.url, "WEB_CONCURRENCY": "2"}
    certificate = Certificate(folder / "steering-certificate")
    with front(Nginx, folder / "nginx-steering", certificate, environ) as behind, Swarm() as swarm:
        others = Returning(behind, swarm, [signer.token(f"ID{number}") for number in range(CLIENTS - 1)])
        out = Outcast(behind, swarm, signer.token("IDOUT", iat=int(time.time()) - 1), 4)
        swarm.until(lambda: out.inside == 4, "it is in, too")
        for number, gateway in enumerate(behind.gateways):
            before = set(gateway.workers())
            os.kill(gateway.pid, signal.SIGHUP)
            command = steer(own_redis, "disconnect", "IDOUT", "--revoke") if number == 0 else None

            def renewed(before: set[int] = before, gateway: GatewayProcess = gateway) -> bool:
                out.look()
                return not before & set(gateway.workers())

            others.until(renewed, "the old workers are gone")
            if command is not None:
                output, _ = command.communicate(timeout=120)
                # A worker that was just ending may have heard it and not answered.
                assert command.returncode in (0, 4), output
        refused = out.refused
        others.until(lambda: out.look() or out.refused >= refused + 20, "it has tried each worker repeatedly")
        assert out.inside == 0
        with redis_client.Redis.from_url(own_redis.url) as connection:
            (word,) = map(revocations.read, connection.zrange(REVOCATIONS_KEY, 0, -1))
        assert word is not None
        assert out.closed, "it received a close frame"
        # By the gateways' clock: this process is busy with everybody's coming back.
        said = [line for gateway in behind.gateways for line in gateway.events() if line["event"] == DISCONNECTED]
        seconds = max(datetime.fromisoformat(line["timestamp"]).timestamp() for line in said) - word.issued
        assert sum(line["closed"] for line in said) == out.closed
        closes = [line["code"] for line in behind.closed()]
        assert closes.count(4403) == out.closed, "and no other client was"
        assert set(closes) <= {1000, 1005, 1006, 1012, 4403}
        assert others.told >= CLIENTS - 1
        print(
            f"\n{CLIENTS} clients, {others.told} told to come back by restarts; out within {seconds * 1000:.0f} ms of "
            f"the command, on {out.closed} connections; refused {out.refused} times since"
        )
        assert seconds < AT_ONCE or not LONG


def steer(redis: Redis, *words: str) -> subprocess.Popen[str]:
    """The command as an operator gives it."""
    environ = {**os.environ, "REDIS_URL": redis.url}
    command = [sys.executable, "-m", "peatio_ws", *words]
    return subprocess.Popen(command, cwd=ROOT, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


# ---- Redis stopped, frozen and back


class Timed(SwarmClient):
    """A client that knows how late its orders are; their ids tell when they were published."""

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
    """Orders for members by chance, until the end."""

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
    """Members under load, gateways with a Redis to be troubled, and one without, by which to tell what is due to it."""

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
        swarm.until(lambda: all(client.authenticated for client in everybody), "all there")
        self._came = 0

    def _port(self, number: int) -> int:
        return self.gateways[number % len(self.gateways)].port

    def come(self, uid: str) -> SwarmClient:
        """One more; the gateways in turn."""
        self._came += 1
        client = SwarmClient(self._port(self._came), self._signer.token(uid))
        self.swarm.join(client)
        return client

    @property
    def got(self) -> int:
        """How many orders members have had."""
        return sum(client.got for client in self.members)

    def begin(self) -> None:
        """From now on, how late are orders?"""
        for client in (*self.members, *self._others):
            client.worst = 0.0

    def go_on(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        self.swarm.until(lambda: time.monotonic() > until, "time passes", seconds + 60)

    def latest(self) -> tuple[float, float]:
        """How late the latest order was, and how late at the gateway without Redis."""
        return max(client.worst for client in self.members), max(client.worst for client in self._others)

    def let_in(self) -> float:
        """Connect a new member, whose member id is looked up in Redis. Return how long that took."""
        began = time.monotonic()
        client = self.come(f"NEW{self._came}")
        self.swarm.until(lambda: client.authenticated, "let in")
        return time.monotonic() - began

    def works_again(self) -> tuple[float, float]:
        """Seconds until steering works, and until limits hold across gateways."""
        began, heard = time.monotonic(), threading.Event()
        threading.Thread(target=self._ask_until_all_answer, args=[heard], daemon=True).start()
        self.swarm.until(heard.is_set, "every worker answers")
        steered = time.monotonic() - began
        uid = f"MANY{self._came}"
        many = [self.come(uid) for _ in range(PER_MEMBER + 1)]  # no gateway has too many by itself
        self.swarm.until(lambda: sum(client.ended for client in many) == 1, "one too many")
        assert [client.close for client in many if client.ended] == [(1013, "too many connections of this member")]
        limited = time.monotonic() - began
        self.swarm.drop(many)
        return steered, limited

    def _ask_until_all_answer(self, heard: threading.Event) -> None:
        workers = sum(len(gateway.workers()) for gateway in self.gateways)
        while not heard.is_set():
            operator = Operator(self.redis.url)
            try:
                if len(operator.send(WhoCommand(new_question(), "NOBODY")).answers) == workers:
                    heard.set()
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


def test_clients_notice_nothing_of_redis_and_all_works_again_soon(scene: Scene, broker: RabbitMQ) -> None:
    redis = scene.redis
    with Load(broker, scene.uids) as load:
        scene.go_on(0.5)
        for how, begin, end in (("frozen", redis.freeze, redis.thaw), ("stopped", redis.kill, redis.start)):
            scene.begin()
            begin()
            first = scene.let_in()
            scene.go_on(TROUBLE)
            later = min(scene.let_in() for _ in range(3))  # a client that waits for Redis waits each time
            sent = load.sent
            scene.swarm.until(lambda sent=sent: scene.got >= sent, "all that was sent without Redis is here")
            end()  # whatever came or was let in before this did not wait for Redis
            steered, limited = scene.works_again()
            scene.go_on(1.0)
            worst, without = scene.latest()
            print(
                f"\nredis {how} for {TROUBLE:g} s, {CLIENTS} clients, {RATE} orders a second: the latest was "
                f"{worst * 1000:.0f} ms late ({without * 1000:.0f} ms without redis); new clients let in after "
                f"{first * 1000:.0f} ms at first, {later * 1000:.0f} ms later; steering works again after "
                f"{steered:.2f} s, limits after {limited:.2f} s"
            )
            if LONG:
                assert worst < without + LATE
                assert later < 1.0, "no client waits for it any more"
                assert max(steered, limited) < SOON
    scene.swarm.until(lambda: scene.got == load.sent, "every order has come")
    assert not any(client.ended for client in scene.members), "no client was disconnected"
    for gateway in scene.gateways:
        wait_until(lambda gateway=gateway: times(gateway, AWAY) == times(gateway, BACK), "it is back for each worker")
        # Each of its workers, each of the two times; and where a machine is slow, for a moment in between.
        assert times(gateway, AWAY) >= 2 * len(gateway.workers())
        assert not gateway.tracebacks()


def times(gateway: GatewayProcess, event: str) -> int:
    """How often its log has it."""
    return sum(line["event"] == event for line in gateway.events())
