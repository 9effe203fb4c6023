"""Whatever fails, a member that resumes receives every event once and in order."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import amqp
import pytest
from kombu import Connection

from peatio_ws.amqp.history_stream.source import PREFETCH, REMOVED
from peatio_ws.protocol.exchanges import EXCHANGES
from tests.support.gateway import GatewayProcess, Publisher, Signer, forget_history, receive, resume
from tests.support.resuming import unreported
from tests.support.servers import RabbitMQ, Redis, seldom
from tests.support.stage import LONG, MEMBERS, Background, Stage

SECONDS = float(os.environ.get("PEATIO_WS_TEST_SECONDS") or 10)
"""How long all failures happen at once; `make faults-long` sets five minutes, and more members and events."""


@pytest.fixture(scope="module")
def own_broker(folder: Path) -> Iterator[RabbitMQ]:
    """A broker whose durable exchanges survive a restart."""
    server = RabbitMQ(folder / "rabbitmq-durable")
    yield server
    server.close()


@pytest.fixture
def new_stage(folder: Path, own_broker: RabbitMQ, own_redis: Redis, signer: Signer) -> Iterator[Callable[..., Stage]]:
    running: list[GatewayProcess] = []

    def set_up(workers: int = 2, gateways: int = 1, **environ: str) -> Stage:
        given = {
            "AMQP_URL": own_broker.url,
            "REDIS_URL": own_redis.url,
            "AMQP_EXCHANGES_DURABLE": "true",
            "WEB_CONCURRENCY": str(workers),
            **signer.environ,
            **environ,
        }
        for _ in range(gateways):
            running.append(GatewayProcess(folder, given, wait=False))
        for gateway in running:
            gateway.wait_ready()
        return Stage(own_broker, own_redis, running, signer)

    yield set_up
    for gateway in running:
        gateway.stop()
    forget_history(own_broker.url)


def test_connections_cut_at_random(new_stage: Callable[..., Stage]) -> None:
    stage = new_stage()
    print(stage.run(lambda: stage.members.live(until=lambda: stage.members.cut > 3.5 * MEMBERS, cuts=75)))


def test_workers_killed_repeatedly(new_stage: Callable[..., Stage]) -> None:
    stage = new_stage(workers=3)

    def disturb() -> None:
        # Continue until enough connections have ended: a worker may have few members, or none after its start.
        kills = 0
        while kills < 5 or stage.members.ends[0] <= MEMBERS:
            assert kills < 100, stage.members.ends
            stage.members.until(lambda: stage.members.connected > MEMBERS / 2, "most of them are back")
            stage.members.live(random.uniform(0.5, 1.5), cuts=2.5)
            stage.kill_a_worker()
            kills += 1
        stage.members.live(1)

    print(stage.run(disturb))


def test_three_rolling_restarts(new_stage: Callable[..., Stage]) -> None:
    stage = new_stage()

    def disturb() -> None:
        (gateway,) = stage.gateways
        for times in range(2, 5):
            before = set(gateway.workers())
            stage.deploy()
            stage.members.until(lambda before=before: not before & set(gateway.workers()), "the old workers are gone")
            stage.members.until(lambda times=times: stage.members.all_resumed(times), "all members have resumed")

    print(stage.run(disturb))
    assert stage.members.ends[1012] > 2 * MEMBERS


@pytest.mark.parametrize(("how", "scheme"), [("stop", "amqp"), ("kill", "amqps")])
def test_the_broker_restarted(new_stage: Callable[..., Stage], own_broker: RabbitMQ, how: str, scheme: str) -> None:
    stage = new_stage(**own_broker.environ(scheme))

    def disturb() -> None:
        stage.members.live(1, cuts=10)
        stage.background(getattr(stage.broker, how), stage.broker.start)
        stage.members.until(stage.connected_to_broker, "both workers are connected again")
        stage.members.live(2, cuts=50)

    print(stage.run(disturb))
    assert stage.market.lost_connections


def test_the_broker_frozen(new_stage: Callable[..., Stage], own_broker: RabbitMQ) -> None:
    stage = new_stage(**own_broker.environ("amqps"))

    def disturb() -> None:
        stage.broker.freeze()
        try:
            stage.members.live(until=stage.disconnected_from_broker, cuts=5)
            stage.members.live(2, cuts=5)
        finally:
            stage.broker.thaw()
        stage.members.live(2, cuts=5)

    print(stage.run(disturb))


def test_redis_killed(new_stage: Callable[..., Stage]) -> None:
    stage = new_stage()

    def disturb() -> None:
        stage.redis.kill()
        stage.members.live(3, cuts=25)
        stage.background(stage.redis.start)
        stage.members.live(3, cuts=25)
        stage.redis.kill()
        stage.members.live(1, cuts=25)
        stage.background(stage.redis.start)

    print(stage.run(disturb))


def test_members_move_between_two_gateways(new_stage: Callable[..., Stage]) -> None:
    stage = new_stage(workers=1, gateways=2)
    print(stage.run(lambda: stage.members.live(7, cuts=75)))


def test_all_failures_at_once(new_stage: Callable[..., Stage]) -> None:
    # A member may find no connected worker for minutes. No event may become too old to be resumed meanwhile.
    stage = new_stage(workers=2, gateways=2, WEBSOCKET_RESUME_SECONDS="1200")
    over = threading.Event()

    def freeze() -> None:
        stage.broker.freeze()
        over.wait(min(20, SECONDS / 4))
        stage.broker.thaw()

    def servers() -> Iterator[Callable[[], object]]:
        broker, redis = stage.broker, stage.redis
        disturbances: list[list[Callable[[], object]]] = [
            [redis.kill, broker.kill, broker.start, redis.start],
            [freeze],
            [redis.kill, broker.stop, broker.start, redis.start],
        ]
        while not over.is_set():
            random.shuffle(disturbances)
            for disturbance in disturbances:
                if not over.wait(random.uniform(2, 6)):
                    yield from disturbance

    def workers() -> Iterator[Callable[[], object]]:
        while not over.wait(random.uniform(2, 6)):
            yield random.choice((stage.kill_a_worker, stage.kill_a_worker, stage.deploy))

    def disturb() -> None:
        threads = Background(servers()), Background(workers())
        try:
            stage.members.live(SECONDS, cuts=10)
        finally:
            over.set()
        stage.members.until(lambda: not any(thread.is_alive() for thread in threads), "all threads have ended")
        for thread in threads:
            thread.check()
        stage.members.until(stage.connected_to_broker, "all workers are connected to the broker again")

    print(stage.run(disturb))


def test_possible_loss_with_transient_exchanges_is_announced(
    start: Callable[..., GatewayProcess], broker: RabbitMQ, signer: Signer
) -> None:
    """After the broker's restart, events are lost until a worker has bound the stream again."""
    gateway, token = start(WEB_CONCURRENCY="2"), signer.token("IDTOLD")
    with gateway.connect() as client:
        assert resume(client, token)["complete"]
        with Publisher(broker.url) as publisher:
            publisher.order("IDTOLD", 1)
            before = receive(client)["cursor"]
        broker.restart()
        while (notice := receive(client)["resume"])["complete"]:
            pass  # a fresh cursor from before the restart: there is one after 40 s without an event
        gateway.wait_ready()
        with Publisher(broker.url) as publisher:
            publisher.order("IDTOLD", 2)
        while "resume" in (frame := receive(client)):  # two workers may have noticed the loss
            notice = frame["resume"]
            assert not notice["complete"]
        assert frame["orderbook"]["id"] == 2
    for cursor, complete in ((before, False), (notice["cursor"], True), (frame["cursor"], True)):
        with gateway.connect() as client:
            assert resume(client, token, cursor)["complete"] is complete


# ---- members are notified of lost events


def wait_until_notified(stage: Stage, since: float) -> None:
    """Wait until all members have been notified of a loss after this monotonic time and all workers are connected.

    A worker may learn of the loss from another worker, through the stream, without noticing it itself.
    """
    members = stage.members.members
    stage.members.until(lambda: all(member.notified_at > since for member in members), "all members are notified")
    stage.members.until(stage.connected_to_broker, "all workers are connected to the broker again")


def lose_the_stream(broker: RabbitMQ) -> None:
    with Connection(broker.url) as connection:
        connection.default_channel.queue_delete("peatio_ws.history")


def declare_exchanges_again(broker: RabbitMQ) -> None:
    with Connection(broker.url) as connection:
        for name, kind in EXCHANGES.items():
            connection.default_channel.exchange_delete(name)
            connection.default_channel.exchange_declare(name, kind, durable=True, auto_delete=False)


def lose_the_disk(broker: RabbitMQ) -> None:
    broker.kill()
    broker.forget()
    broker.start()


@pytest.mark.parametrize(
    ("lose", "workers", "times"),
    [
        (lose_the_stream, 3, 3 if LONG else 2),
        (declare_exchanges_again, 3, 3 if LONG else 2),
        (lose_the_disk, 4 if LONG else 2, 2 if LONG else 1),
    ],
)
def test_every_member_is_notified_of_a_loss_under_load(
    new_stage: Callable[..., Stage], lose: Callable[[RabbitMQ], None], workers: int, times: int
) -> None:
    stage = new_stage(workers=workers)

    def disturb() -> None:
        for _ in range(times):
            began = time.monotonic()
            stage.background(lambda: lose(stage.broker))
            wait_until_notified(stage, began)
            stage.members.live(2, cuts=15)

    print(stage.run(disturb, unreported))
    assert all(member.gaps for member in stage.members.members), "a member was not notified"


def test_retention_overtakes_a_worker_under_load(new_stage: Callable[..., Stage], own_broker: RabbitMQ) -> None:
    """A worker that is stopped for longer than events are kept misses some, and notifies its own members only."""
    short = "peatio_ws.short"
    small = json.dumps({"max-length-bytes": 1_000_000, "stream-max-segment-size-bytes": 250_000})
    own_broker.ctl("set_policy", "--apply-to", "queues", "short", f"^{short}$", small)
    stage = new_stage(workers=3, AMQP_HISTORY_QUEUE=short)

    def disturb() -> None:
        for _ in range(3 if LONG else 2):
            noticed = retention_noticed(stage)
            worker = random.choice(stage.gateways[0].workers())
            os.kill(worker, signal.SIGSTOP)
            stage.background(lambda: overtake(own_broker, short))
            os.kill(worker, signal.SIGCONT)
            stage.members.until(seldom(lambda before=noticed: retention_noticed(stage) > before), "the worker notices")
            stage.members.live(2, cuts=15)

    print(stage.run(disturb, unreported))
    assert any(member.gaps for member in stage.members.members), "no member was notified"


def overtake(broker: RabbitMQ, stream: str) -> None:
    """Publish until the stream has removed all events that may already be on their way to a worker."""
    body = json.dumps({"id": 1, "market": "btcusd", "padding": "." * 1000}).encode()
    with Connection(broker.url) as connection, connection.channel() as channel:
        on_its_way = offset_of(connection, stream, "last") + 2 * PREFETCH
        while offset_of(connection, stream, "first") <= on_its_way:
            for _ in range(500):
                message = amqp.Message(body, application_headers={"uid": "IDFILLER"})
                channel.basic_publish(message, "peatio.orderbook")


def offset_of(connection: Connection, stream: str, which: str) -> int:
    """Return the offset of the first event, or approximately that of the last one."""
    found: list[int] = []
    with connection.channel() as channel:
        channel.basic_qos(0, 1, False)
        channel.basic_consume(
            stream,
            arguments={"x-stream-offset": which},
            callback=lambda message: found.append(message.headers["x-stream-offset"]),
        )
        while not found:
            connection.drain_events(timeout=60)
    return found[0]


def retention_noticed(stage: Stage) -> int:
    return sum(event.get("why") == REMOVED for event in stage.gateways[0].events())
