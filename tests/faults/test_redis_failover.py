"""Failovers of Redis. With Sentinel, the primary is killed, frozen and replaced on request, under members that resume.
Without it, a replica is promoted."""

from __future__ import annotations

import contextlib
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.support import fork_server
from tests.support.gateway import GatewayProcess, Signer
from tests.support.sentinel import NAME, PASSWORD, SENTINEL_PASSWORD, SentinelSet, client
from tests.support.servers import RabbitMQ, Redis, seldom, wait_until
from tests.support.stage import Stage

WORKERS = 2
COMMANDS = "peatio_ws:steering"


@pytest.fixture(scope="module")
def sentinels(folder: Path) -> Iterator[SentinelSet]:
    started = SentinelSet(folder / "sentinel")
    yield started
    started.close()


@pytest.fixture
def stage(folder: Path, broker: RabbitMQ, sentinels: SentinelSet, signer: Signer) -> Iterator[Stage]:
    environ = {"REDIS_URL": sentinels.url, "AMQP_URL": broker.url, "WEB_CONCURRENCY": str(WORKERS), **signer.environ}
    gateway = GatewayProcess(folder, environ)
    yield Stage(broker, sentinels.servers[0], [gateway], signer)
    gateway.stop()


def killed(sentinels: SentinelSet, primary: Redis) -> Iterator[Callable[[], object]]:
    yield primary.kill
    yield lambda: sentinels.wait_for_failover(primary)
    yield primary.start


def frozen(sentinels: SentinelSet, primary: Redis) -> Iterator[Callable[[], object]]:
    """The old primary comes back as one that accepts writes, until Sentinel makes it a replica."""
    yield primary.freeze
    yield lambda: sentinels.wait_for_failover(primary)
    yield primary.thaw


def asked_for(sentinels: SentinelSet, primary: Redis) -> Iterator[Callable[[], object]]:
    yield sentinels.fail_over
    yield lambda: sentinels.wait_for_failover(primary)


@pytest.mark.parametrize(
    "fail", [killed, pytest.param(frozen, marks=pytest.mark.long), pytest.param(asked_for, marks=pytest.mark.long)]
)
def test_a_failover_loses_no_event_and_workers_use_the_new_primary(
    stage: Stage, sentinels: SentinelSet, fail: Callable[[SentinelSet, Redis], Iterator[Callable[[], object]]]
) -> None:
    (gateway,) = stage.gateways

    def revoke() -> None:
        """Carry out a command that writes to the primary and reaches all workers."""
        done = run(sentinels.url, "disconnect", "IDNOBODY", "--revoke")
        assert done.returncode == 0, done.stderr
        assert f"{WORKERS} workers of 1 gateway" in done.stderr

    def disturb() -> None:
        stage.background(sentinels.wait_for_replica)
        began, old = time.monotonic(), sentinels.primary
        stage.background(*fail(sentinels, old))
        new = sentinels.primary
        named = time.monotonic() - began
        stage.members.until(seldom(lambda: listeners(new) == WORKERS), "all workers listen there")
        connected = seldom(lambda: gateway.metric("peatio_ws_redis_connected") == WORKERS)
        stage.members.until(connected, "all are connected")
        print(f"named by Sentinel after {named:.1f} s, used by all workers after {time.monotonic() - began:.1f} s")
        stage.members.live(1, cuts=25)
        stage.background(revoke)

    print(stage.run(disturb))
    assert PASSWORD not in gateway.log()
    assert SENTINEL_PASSWORD not in gateway.log()


def listeners(server: Redis, password: str = PASSWORD) -> int:
    with client(server.port, password) as asked:
        return int(dict(asked.pubsub_numsub(COMMANDS))[COMMANDS.encode()])


def test_check_names_the_primary_and_what_is_wrong_with_a_sentinel(
    sentinels: SentinelSet, broker: RabbitMQ, signer: Signer
) -> None:
    sentinels.wait_for_replica()
    environ = {"AMQP_URL": broker.url, **signer.environ}
    good = run(sentinels.url, "check", **environ).stdout
    place = f"127.0.0.1:{sentinels.primary.port}"
    assert good.count(f"{NAME} is at {place}, with 1 replicas and 2 other Sentinels") == 3, good
    assert "primary exchange: Redis 7" in good, good
    assert not re.search("^WRONG  (redis|sentinel)", good, re.MULTILINE), good
    wrong = run(sentinels.url.replace(f"/{NAME}/", "/mymaster/"), "check", **environ)
    assert "does not know mymaster" in wrong.stdout
    assert f"it knows {NAME}" in wrong.stdout
    assert "no Sentinel names a primary that is up" in wrong.stdout
    refused = run(sentinels.url.partition("?")[0], "check", **environ).stdout
    assert "sentinel_password is the password of Sentinel itself" in refused
    silent = sentinels.sentinels[-1]
    silent.freeze()
    try:
        assert f"127.0.0.1:{silent.port}: does not answer" in run(sentinels.url, "check", **environ).stdout
    finally:
        silent.thaw()


def test_workers_use_the_promoted_one_of_several_servers(folder: Path, broker: RabbitMQ, signer: Signer) -> None:
    with contextlib.ExitStack() as stack:
        first, second = (Redis(Path(tempfile.mkdtemp(dir=folder))) for _ in range(2))
        for server in (first, second):
            stack.callback(server.kill)
        with plain(second) as asked:
            asked.replicaof("127.0.0.1", first.port)
            wait_until(lambda: asked.info("replication")["master_link_status"] == "up", "the replica is in step")
        url = f"redis://127.0.0.1:{first.port},127.0.0.1:{second.port}/0"
        environ = {"REDIS_URL": url, "AMQP_URL": broker.url, "WEB_CONCURRENCY": str(WORKERS), **signer.environ}
        gateway = GatewayProcess(folder, environ)
        stack.callback(gateway.stop)
        wait_until(lambda: listeners(first, "") == WORKERS, "all workers listen at the primary")
        assert f"127.0.0.1:{second.port}: is a replica" in run(url, "check", **environ).stdout
        first.kill()
        with plain(second) as asked:
            asked.replicaof("NO", "ONE")
        wait_until(lambda: listeners(second, "") == WORKERS, "all workers listen at the promoted server")
        wait_until(lambda: gateway.metric("peatio_ws_redis_connected") == WORKERS, "all are connected")
        # A worker that is too busy to answer in time is not counted.
        all_workers = f"{WORKERS} workers of 1 gateway"
        wait_until(lambda: all_workers in run(url, "disconnect", "IDNOBODY", "--revoke").stderr, "all have the command")
        checked = run(url, "check", **environ).stdout
        assert re.search(rf"^WRONG  redis +127.0.0.1:{first.port}", checked, re.MULTILINE), checked
        assert f"127.0.0.1:{second.port}: is a primary" in checked
        assert not gateway.tracebacks()


def plain(server: Redis) -> redis.Redis:
    return client(server.port, "")


def run(url: str, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    given = {"REDIS_URL": url, "PATH": "", "METRICS_PORT": "0", "WEBSOCKET_PORT": "0", **environ}
    return fork_server.shared("command").run(["peatio_ws", *words], given, 60)
