"""Whatever fails, a member that resumes receives every event once and in order."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import amqp
import pytest
from kombu import Connection

from peatio_ws.amqp.stream_source import PREFETCH, REMOVED
from peatio_ws.protocol.exchanges import EXCHANGES
from tests.support.gateway import GatewayProcess, Publisher, Signer, receive, resume
from tests.support.resuming import Market, Member, Members, faults, unreported
from tests.support.servers import RabbitMQ, Redis

MEMBERS = 200
SECONDS = float(os.environ.get("PEATIO_WS_TEST_SECONDS") or 15)
"""How long all failures happen at once; `make faults-long` sets five minutes."""
RATE = 300
"""Events a second, all members together. Every third event is a trade between two members."""


class Background(threading.Thread):
    """Carries out steps while members continue."""

    def __init__(self, steps: Iterable[Callable[[], object]]) -> None:
        super().__init__(daemon=True)
        self._steps = steps
        self._failure: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            for step in self._steps:
                step()
        except BaseException as error:
            self._failure = error

    def check(self) -> None:
        """Raise the exception of a step that failed."""
        if self._failure is not None:
            raise self._failure


class Stage:
    """Servers, gateways, and a market that publishes to members.

    Attributes:
        members: all of them.
        market: publishes until the end.
    """

    def __init__(self, broker: RabbitMQ, redis: Redis, gateways: list[GatewayProcess], signer: Signer) -> None:
        self.broker, self.redis, self.gateways = broker, redis, gateways
        run = uuid.uuid4().hex[:8]
        uids = [f"ID{run}{index}" for index in range(MEMBERS)]
        people = [Member(index, uid, signer.token(uid)) for index, uid in enumerate(uids)]
        self.members = Members(people, [gateway.port for gateway in gateways])
        self.market = Market(broker.url, people, RATE)

    def run(self, disturb: Callable[[], None], judge: Callable[[list[Member], Market], list[str]] = faults) -> str:
        """Cause failures, and wait until every member has received everything. Return a summary for people.

        Args:
            disturb: causes the failures.
            judge: returns what is wrong with the events that members received.
        """
        members, market = self.members, self.market
        with members:
            members.until(members.all_resumed, "all members are connected")
            market.start()
            members.until(lambda: market.confirmed > RATE, "the market publishes")
            began = time.monotonic()
            try:
                disturb()
                market.end()
                members.until(lambda: not market.is_alive(), "the market has ended")
                assert market.failure is None
                ended = time.monotonic()
                members.until(self._all_have_the_last_event, "every member has everything")
            except Exception as error:
                notes = self.story(began, time.monotonic()), self._missing_last_events(), self._gateway_logs()
                error.add_note("\n".join(notes))
                raise
        story = self.story(began, ended)
        assert not (found := judge(members.members, market)), f"{story}\n" + "\n".join(found[:20])
        for gateway in self.gateways:
            assert not gateway.tracebacks()
        return story

    def background(self, *steps: Callable[[], object]) -> None:
        """Carry out slow steps, one after the other, while members continue."""
        thread = Background(steps)
        self.members.until(lambda: not thread.is_alive(), "the steps are done")
        thread.check()

    def kill_a_worker(self) -> None:
        workers = random.choice(self.gateways).workers()
        if workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(random.choice(workers), signal.SIGKILL)

    def deploy(self) -> None:
        """Reload a gateway: new workers start, then the old ones notify their clients and exit."""
        os.kill(random.choice(self.gateways).pid, signal.SIGHUP)

    def connected_to_broker(self) -> bool:
        """Return whether every worker is connected to the broker."""
        return all(
            gateway.metric("peatio_ws_broker_connected") >= int(gateway.environ["WEB_CONCURRENCY"])
            for gateway in self.gateways
        )

    def disconnected_from_broker(self) -> bool:
        """Return whether no worker is connected to the broker."""
        return all(gateway.metric("peatio_ws_broker_connected") == 0 for gateway in self.gateways)

    def story(self, began: float, ended: float) -> str:
        members, market = self.members, self.market
        return (
            f"{market.confirmed} events confirmed, {sum(map(len, market.maybe))} not ({market.unroutable} unroutable), "
            f"{sum(len(member.got) for member in members.members)} got; {members.cut} connections cut, "
            f"{sum(member.resumed for member in members.members)} begun, ended {dict(members.ends)}; "
            f"longest silence {members.silence:.1f} s; "
            f"disturbed for {ended - began:.1f} s, everything received {time.monotonic() - ended:.1f} s later"
        )

    def _gateway_logs(self) -> str:
        """Return the end of each gateway's log, without closed connections."""
        lines = []
        for gateway in self.gateways:
            lines.append(f"{gateway.log_path.name}: {gateway.operators('/readyz')}, workers {gateway.workers()}")
            lines += [line for line in gateway.log().splitlines() if "connection closed" not in line][-40:]
        return "\n".join(lines)

    def _missing_last_events(self) -> str:
        return "\n".join(
            f"{member.uid} has {len(member.got)} events, the last is {member.got[-1:]} of "
            f"{self.market.sure[member.index][-1:]}; gaps after {sorted(member.gaps)} events, the last notice "
            f"{member.notified_at - self.market.last_from[member.index]:.3f} s after it; cursor {member.cursor}"
            for member in self.members.members
            if not self._has_last_event(member)
        )

    def _all_have_the_last_event(self) -> bool:
        return all(map(self._has_last_event, self.members.members))

    def _has_last_event(self, member: Member) -> bool:
        """Return whether a member has its last event, or a later notice that it may have missed some."""
        index = member.index
        has_it = bool(member.got) and member.got[-1] == self.market.sure[index][-1]
        return has_it or (member.notified_at > self.market.last_from[index] and len(member.got) in member.gaps)


@pytest.fixture(scope="module")
def own_broker(folder: Path) -> Iterator[RabbitMQ]:
    """A broker whose durable exchanges survive a restart."""
    server = RabbitMQ(folder / "rabbitmq-durable")
    yield server
    server.close()


@pytest.fixture(scope="module")
def own_redis(folder: Path) -> Iterator[Redis]:
    server = Redis(folder / "redis-to-kill")
    yield server
    server.kill()


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


def test_connections_cut_at_random(new_stage: Callable[..., Stage]) -> None:
    stage = new_stage()
    print(stage.run(lambda: stage.members.live(until=lambda: stage.members.cut > 700, cuts=150)))


def test_workers_killed_repeatedly(new_stage: Callable[..., Stage]) -> None:
    stage = new_stage(workers=3)

    def disturb() -> None:
        # Continue until enough connections have ended: a worker may have few members, or none after its start.
        kills = 0
        while kills < 5 or stage.members.ends[0] <= MEMBERS:
            assert kills < 100, stage.members.ends
            stage.members.until(lambda: stage.members.connected > MEMBERS / 2, "most of them are back")
            stage.members.live(random.uniform(0.5, 1.5), cuts=5)
            stage.kill_a_worker()
            kills += 1
        stage.members.live(1)

    print(stage.run(disturb))


def test_three_rolling_restarts(new_stage: Callable[..., Stage]) -> None:
    stage = new_stage()

    def disturb() -> None:
        (gateway,) = stage.gateways
        for _ in range(3):
            before = set(gateway.workers())
            stage.deploy()
            stage.members.until(lambda before=before: not before & set(gateway.workers()), "the old workers are gone")

    print(stage.run(disturb))
    assert stage.members.ends[1012] > MEMBERS


@pytest.mark.parametrize(("how", "scheme"), [("stop", "amqp"), ("kill", "amqps")])
def test_the_broker_restarted(new_stage: Callable[..., Stage], own_broker: RabbitMQ, how: str, scheme: str) -> None:
    stage = new_stage(**own_broker.environ(scheme))

    def disturb() -> None:
        stage.members.live(1, cuts=20)
        stage.background(getattr(stage.broker, how), stage.broker.start)
        stage.members.until(stage.connected_to_broker, "both workers are connected again")
        stage.members.live(2, cuts=100)

    print(stage.run(disturb))
    assert stage.market.lost_connections


def test_the_broker_frozen(new_stage: Callable[..., Stage], own_broker: RabbitMQ) -> None:
    stage = new_stage(**own_broker.environ("amqps"))

    def disturb() -> None:
        stage.broker.freeze()
        try:
            stage.members.live(until=stage.disconnected_from_broker, cuts=10)
            stage.members.live(2, cuts=10)
        finally:
            stage.broker.thaw()
        stage.members.live(2, cuts=10)

    print(stage.run(disturb))


def test_redis_killed(new_stage: Callable[..., Stage]) -> None:
    stage = new_stage()

    def disturb() -> None:
        stage.redis.kill()
        stage.members.live(3, cuts=50)
        stage.background(stage.redis.start)
        stage.members.live(3, cuts=50)
        stage.redis.kill()
        stage.members.live(1, cuts=50)
        stage.background(stage.redis.start)

    print(stage.run(disturb))


def test_members_move_between_two_gateways(new_stage: Callable[..., Stage]) -> None:
    stage = new_stage(workers=1, gateways=2)
    print(stage.run(lambda: stage.members.live(7, cuts=150)))


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
            stage.members.live(SECONDS, cuts=20)
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
        notice = receive(client)["resume"]
        assert not notice["complete"]
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
    ("lose", "workers", "times"), [(lose_the_stream, 3, 3), (declare_exchanges_again, 3, 3), (lose_the_disk, 4, 2)]
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
            stage.members.live(2, cuts=30)

    print(stage.run(disturb, unreported))
    assert all(member.gaps for member in stage.members.members), "a member was not notified"


def test_retention_overtakes_a_worker_under_load(new_stage: Callable[..., Stage], own_broker: RabbitMQ) -> None:
    """A worker that is stopped for longer than events are kept misses some, and notifies its own members only."""
    short = "peatio_ws.short"
    small = json.dumps({"max-length-bytes": 4_000_000, "stream-max-segment-size-bytes": 1_000_000})
    own_broker.ctl("set_policy", "--apply-to", "queues", "short", f"^{short}$", small)
    stage = new_stage(workers=3, AMQP_HISTORY_QUEUE=short)

    def disturb() -> None:
        for _ in range(3):
            noticed = retention_noticed(stage)
            worker = random.choice(stage.gateways[0].workers())
            os.kill(worker, signal.SIGSTOP)
            stage.background(lambda: overtake(own_broker, short))
            os.kill(worker, signal.SIGCONT)
            stage.members.until(lambda before=noticed: retention_noticed(stage) > before, "the worker notices")
            stage.members.live(2, cuts=30)

    print(stage.run(disturb, unreported))
    assert any(member.gaps for member in stage.members.members), "no member was notified"


def overtake(broker: RabbitMQ, stream: str) -> None:
    """Publish until the stream has removed all events that may already be on their way to a worker."""
    body = json.dumps({"id": 1, "market": "btcusd", "padding": "." * 10_000}).encode()
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
