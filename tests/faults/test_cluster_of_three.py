"""A RabbitMQ cluster of three nodes, whose nodes are killed, restarted and frozen under members that resume.

`make cluster-long` runs these tests; three nodes start for half a minute.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import documents
from tests.support.gateway import ROOT, GatewayProcess, Signer
from tests.support.servers import RabbitMQ, Redis, wait_until
from tests.support.stage import Stage

pytestmark = pytest.mark.long

STREAM = "peatio_ws.history"
CONFIRM_SECONDS = 1.0
"""RabbitMQ 3.10 loses confirms when a node dies; the publisher then publishes the event again."""
FROZEN_SECONDS = 20.0
DURABLE = {"AMQP_EXCHANGES_DURABLE": "true"}
_STATE = f'{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"{STREAM}">>)), '


class Cluster:
    """Three nodes."""

    def __init__(self, folder: Path) -> None:
        self.nodes = [RabbitMQ(folder / "rabbitmq-1")]
        try:
            for number in (2, 3):
                self.nodes.append(RabbitMQ(folder / f"rabbitmq-{number}", self.nodes[0]))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for node in reversed(self.nodes):  # the first one has the epmd of all
            node.close()

    @property
    def urls(self) -> str:
        return ";".join(node.url for node in self.nodes)

    def leader(self) -> RabbitMQ:
        """Return the node of the stream's leader."""
        running = next(node for node in self.nodes if node.process is not None)
        name = running.ctl("eval", f"{_STATE} proplists:get_value(leader, rabbit_amqqueue:info(Q, [leader])).").strip()
        return next(node for node in self.nodes if node.name == name.strip("'\""))

    def replicas(self) -> int:
        """Return how many replicas of the stream are online."""
        found = self.nodes[0].ctl("eval", f"{_STATE} proplists:get_value(online, rabbit_amqqueue:info(Q, [online])).")
        return len(re.findall(r"@localhost", found))

    def wait_until_whole(self) -> None:
        wait_until(lambda: self.replicas() == len(self.nodes), "all replicas are online", pause=0.2)

    def revive(self, node: RabbitMQ) -> None:
        """Start a node, and wait until its replica of the stream is online."""
        node.start()
        node.ctl("await_startup")
        self.wait_until_whole()


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Iterator[Cluster]:
    nodes = Cluster(folder)
    yield nodes
    nodes.close()


@contextlib.contextmanager
def staged(folder: Path, cluster: Cluster, redis: Redis, signer: Signer, urls: str) -> Iterator[Stage]:
    """Start a gateway that uses these brokers."""
    environ = {"AMQP_URL": urls, "REDIS_URL": redis.url, **DURABLE, "WEB_CONCURRENCY": "2", **signer.environ}
    gateway = GatewayProcess(folder, environ)
    try:
        cluster.wait_until_whole()  # made on a cluster, a stream has a replica on every node
        yield Stage(cluster.nodes[0], redis, [gateway], signer, cluster.nodes[1:], CONFIRM_SECONDS)
    finally:
        gateway.stop()


@pytest.fixture
def stage(folder: Path, cluster: Cluster, redis: Redis, signer: Signer) -> Iterator[Stage]:
    with staged(folder, cluster, redis, signer, cluster.urls) as made:
        yield made


def test_the_leader_of_the_stream_is_killed_three_times(stage: Stage, cluster: Cluster) -> None:
    def disturb() -> None:
        for _ in range(3):
            leader = cluster.leader()
            silence = stage.members.silence_of(leader.kill)
            stage.market.silence = 0.0
            stage.members.live(5, cuts=10, until=stage.connected_to_broker)
            print(f"{leader.name} killed: {silence():.1f} s of silence, {stage.market.silence:.1f} s without a confirm")
            stage.background(lambda leader=leader: cluster.revive(leader))
            stage.members.live(2, cuts=10, until=stage.connected_to_broker)

    print(stage.run(disturb))


def test_a_rolling_restart_of_all_nodes(stage: Stage, cluster: Cluster) -> None:
    def disturb() -> None:
        for node in cluster.nodes:
            silence = stage.members.silence_of(lambda: None)
            stage.background(node.stop)
            stage.members.live(2, cuts=10, until=stage.connected_to_broker)
            stage.background(lambda node=node: cluster.revive(node))
            stage.members.live(2, cuts=10, until=stage.connected_to_broker)
            print(f"{node.name} restarted: {silence():.1f} s of silence")

    print(stage.run(disturb))


@pytest.mark.parametrize("which", ["leader", "another"])
def test_a_node_is_cut_off(stage: Stage, cluster: Cluster, which: str) -> None:
    def disturb() -> None:
        leader = cluster.leader()
        node = leader if which == "leader" else next(one for one in cluster.nodes if one is not leader)
        silence = stage.members.silence_of(node.freeze)
        try:
            stage.members.live(FROZEN_SECONDS, cuts=5)
        finally:
            node.thaw()
        stage.members.live(2, cuts=10, until=stage.connected_to_broker)
        print(f"{node.name} ({which}) frozen for {FROZEN_SECONDS:g} s: {silence():.1f} s of silence")
        stage.background(cluster.wait_until_whole)

    print(stage.run(disturb))


def leader_and_another(folder: Path, cluster: Cluster, signer: Signer) -> tuple[RabbitMQ, RabbitMQ]:
    """Return the node of the stream's leader, and a node whose replica can be deleted."""
    GatewayProcess(folder, {"AMQP_URL": cluster.urls, **DURABLE, **signer.environ}).stop()  # makes the stream
    cluster.wait_until_whole()
    leader = cluster.leader()
    return leader, next(node for node in cluster.nodes if node is not leader)


def test_a_replica_is_lost(folder: Path, cluster: Cluster, redis: Redis, signer: Signer) -> None:
    """RabbitMQ 3.10 does not notify the workers, which read that replica."""
    leader, bare = leader_and_another(folder, cluster, signer)

    def disturb() -> None:
        silence = stage.members.silence_of(lambda: leader.streams("delete_replica", STREAM, bare.name))
        stage.members.live(10, cuts=10, until=stage.connected_to_broker)
        print(f"replica on {bare.name} deleted: {silence():.1f} s of silence")

    with staged(folder, cluster, redis, signer, f"{bare.url};{leader.url}") as stage:
        print(stage.run(disturb))
    leader.streams("add_replica", STREAM, bare.name)
    cluster.wait_until_whole()


def test_a_node_without_a_replica_is_left_for_another_and_named_by_check(
    folder: Path, cluster: Cluster, redis: Redis, signer: Signer
) -> None:
    leader, bare = leader_and_another(folder, cluster, signer)
    leader.streams("delete_replica", STREAM, bare.name)
    wait_until(lambda: cluster.replicas() == 2, "a replica is gone")
    gateway = GatewayProcess(folder, {"AMQP_URL": f"{bare.url};{leader.url}", **DURABLE, **signer.environ})
    try:
        reading = [line for line in gateway.events() if line["event"] == "receiving from the broker"]
        assert [line["broker"] for line in reading if line["events"] == "private"] == [f"127.0.0.1:{leader.port}//"]
        assert "cannot read the history stream" not in gateway.log()
        found = check(cluster, signer)
        assert found.count("cannot be read at this node") == 1, found
        assert f"add_replica {STREAM} " in found
        shown = documented_commands(leader, bare).partition("Adding")[0]
        assert leader.name in shown
        assert bare.name not in shown
        cluster.wait_until_whole()
        assert "replica" not in check(cluster, signer)
    finally:
        gateway.stop()


def documented_commands(here: RabbitMQ, bare: RabbitMQ) -> str:
    """Run what the page on RabbitMQ says for a cluster that grew. Return the output."""
    pages = documents.blocks(ROOT / "docs" / "rabbitmq.md")
    (text,) = [block.text for block in pages if block.text.startswith("rabbitmq-streams stream_status")]
    environ = here.environment | {"PATH": f"{RabbitMQ.BIN}:{os.environ['PATH']}"}
    command = ["sh", "-ec", text.replace("rabbit@mq-2", bare.name)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def check(cluster: Cluster, signer: Signer) -> str:
    """Return what `check` prints for all nodes."""
    environ = {**DURABLE, **signer.environ, "AMQP_URL": cluster.urls, "METRICS_PORT": "0", "WEBSOCKET_PORT": "0"}
    command = [sys.executable, "-m", "peatio_ws", "check"]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120).stdout
