"""Whatever fails, a member that resumes receives every event in the end, in order, once."""

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
from tests.support.resuming import Market, Member, Members, faults, untold
from tests.support.servers import RabbitMQ, Redis

MEMBERS = 200
SECONDS = float(os.environ.get("PEATIO_WS_TEST_SECONDS") or 15)
"""How long everything goes wrong at once; `make faults-long` has five minutes of it."""
RATE = 300
"""Events a second in all; two of three are one member's, the third is a trade of two."""


class Background(threading.Thread):
    """Carries out steps while members go on."""

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
        """Raise what a step raised."""
        if self._failure is not None:
            raise self._failure


class Stage:
    """Servers, gateways, and members with a market between them.

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

    def run(self, trouble: Callable[[], None], judge: Callable[[list[Member], Market], list[str]] = faults) -> str:
        """Bring trouble, and wait until everybody has everything; what happened, for people.

        Args:
            judge: what is wrong with what members got.
        """
        members, market = self.members, self.market
        with members:
            members.until(members.all_here, "everybody is here")
            market.start()
            members.until(lambda: market.confirmed > RATE, "the market is open")
            began = time.monotonic()
            try:
                trouble()
                market.end()
                members.until(lambda: not market.is_alive(), "the market is closed")
                assert market.failure is None
                ended = time.monotonic()
                members.until(self._everybody_has_the_last, "everybody has everything")
            except Exception as error:
                notes = self.story(began, time.monotonic()), self._who_lacks_the_last(), self._what_gateways_say()
                error.add_note("\n".join(notes))
                raise
        story = self.story(began, ended)
        assert not (found := judge(members.members, market)), f"{story}\n" + "\n".join(found[:20])
        for gateway in self.gateways:
            assert not gateway.tracebacks()
        return story

    def background(self, *steps: Callable[[], object]) -> None:
        """Carry out what takes its time, one after the other, while members go on."""
        thread = Background(steps)
        self.members.until(lambda: not thread.is_alive(), "trouble is over")
        thread.check()

    def kill_a_worker(self) -> None:
        workers = random.choice(self.gateways).workers()
        if workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(random.choice(workers), signal.SIGKILL)

    def deploy(self) -> None:
        """HUP: new workers, then the old ones tell their clients and end."""
        os.kill(random.choice(self.gateways).pid, signal.SIGHUP)

    def heard(self) -> bool:
        """Return whether every worker is connected to the broker."""
        return all(
            gateway.metric("peatio_ws_broker_connected") >= int(gateway.environ["WEB_CONCURRENCY"])
            for gateway in self.gateways
        )

    def deaf(self) -> bool:
        """Return whether no worker is connected to the broker."""
        return all(gateway.metric("peatio_ws_broker_connected") == 0 for gateway in self.gateways)

    def story(self, began: float, ended: float) -> str:
        members, market = self.members, self.market
        return (
            f"{market.confirmed} events confirmed, {sum(map(len, market.maybe))} not ({market.unroutable} unroutable), "
            f"{sum(len(member.got) for member in members.members)} got; {members.cut} connections cut, "
            f"{sum(member.resumed for member in members.members)} begun, ended {dict(members.ends)}; "
            f"longest silence {members.silence:.1f} s; "
            f"trouble {ended - began:.1f} s, all there {time.monotonic() - ended:.1f} s later"
        )

    def _what_gateways_say(self) -> str:
        """The last of their logs, without the comings and goings of clients."""
        lines = []
        for gateway in self.gateways:
            lines.append(f"{gateway.log_path.name}: {gateway.operators('/readyz')}, workers {gateway.workers()}")
            lines += [line for line in gateway.log().splitlines() if "connection closed" not in line][-40:]
        return "\n".join(lines)

    def _who_lacks_the_last(self) -> str:
        return "\n".join(
            f"{member.uid} has {len(member.got)} events, the last is {member.got[-1:]} of "
            f"{self.market.sure[member.index][-1:]}; gaps after {sorted(member.gaps)} events, the last one told "
            f"{member.told_at - self.market.last_from[member.index]:.3f} s after its last event; cursor {member.cursor}"
            for member in self.members.members
            if not self._has_the_last(member)
        )

    def _everybody_has_the_last(self) -> bool:
        return all(map(self._has_the_last, self.members.members))

    def _has_the_last(self, member: Member) -> bool:
        """Return whether a member has its last event, or was notified since that it may have missed something."""
        index = member.index
        has_it = bool(member.got) and member.got[-1] == self.market.sure[index][-1]
        return has_it or (member.told_at > self.market.last_from[index] and len(member.got) in member.gaps)


@pytest.fixture(scope="module")
def own_broker(folder: Path) -> Iterator[RabbitMQ]:
    """With durable exchanges, which outlive it."""
    server = RabbitMQ(folder / "rabbitmq-durable")
    yield server
    server.close()


@pytest.fixture(scope="module")
def own_redis(folder: Path) -> Iterator[Redis]:
    server = Redis(folder / "redis-to-kill")
    yield server
    server.kill()


@pytest.fixture
def stage(folder: Path, own_broker: RabbitMQ, own_redis: Redis, signer: Signer) -> Iterator[Callable[..., Stage]]:
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


def test_connections_cut_at_random(stage: Callable[..., Stage]) -> None:
    play = stage()
    print(play.run(lambda: play.members.live(until=lambda: play.members.cut > 700, cuts=150)))


def test_workers_killed_again_and_again(stage: Callable[..., Stage]) -> None:
    play = stage(workers=3)

    def trouble() -> None:
        # Members are spread unevenly, and a worker that has just started has none: until there were enough of them.
        kills = 0
        while kills < 5 or play.members.ends[0] <= MEMBERS:
            assert kills < 100, play.members.ends
            play.members.until(lambda: play.members.connected > MEMBERS / 2, "most of them are back")
            play.members.live(random.uniform(0.5, 1.5), cuts=5)
            play.kill_a_worker()
            kills += 1
        play.members.live(1)

    print(play.run(trouble))


def test_three_rolling_restarts(stage: Callable[..., Stage]) -> None:
    play = stage()

    def trouble() -> None:
        (gateway,) = play.gateways
        for _ in range(3):
            before = set(gateway.workers())
            play.deploy()
            play.members.until(lambda before=before: not before & set(gateway.workers()), "the old workers are gone")

    print(play.run(trouble))
    assert play.members.ends[1012] > MEMBERS


@pytest.mark.parametrize(("how", "scheme"), [("stop", "amqp"), ("kill", "amqps")])
def test_the_broker_restarted(stage: Callable[..., Stage], own_broker: RabbitMQ, how: str, scheme: str) -> None:
    play = stage(**own_broker.environ(scheme))

    def trouble() -> None:
        play.members.live(1, cuts=20)
        play.background(getattr(play.broker, how), play.broker.start)
        play.members.until(play.heard, "both workers are connected again")
        play.members.live(2, cuts=100)

    print(play.run(trouble))
    assert play.market.lost_connections


def test_the_broker_frozen(stage: Callable[..., Stage], own_broker: RabbitMQ) -> None:
    play = stage(**own_broker.environ("amqps"))

    def trouble() -> None:
        play.broker.freeze()
        try:
            play.members.live(until=play.deaf, cuts=10)
            play.members.live(2, cuts=10)
        finally:
            play.broker.thaw()
        play.members.live(2, cuts=10)

    print(play.run(trouble))


def test_redis_killed(stage: Callable[..., Stage]) -> None:
    play = stage()

    def trouble() -> None:
        play.redis.kill()
        play.members.live(3, cuts=50)
        play.background(play.redis.start)
        play.members.live(3, cuts=50)
        play.redis.kill()
        play.members.live(1, cuts=50)
        play.background(play.redis.start)

    print(play.run(trouble))


def test_members_move_between_two_gateways(stage: Callable[..., Stage]) -> None:
    play = stage(workers=1, gateways=2)
    print(play.run(lambda: play.members.live(7, cuts=150)))


def test_all_of_it_at_once(stage: Callable[..., Stage]) -> None:
    # For minutes a member may find no worker that is connected to the broker: no event may become too old meanwhile.
    play = stage(workers=2, gateways=2, WEBSOCKET_RESUME_SECONDS="1200")
    over = threading.Event()

    def freeze() -> None:
        play.broker.freeze()
        over.wait(min(20, SECONDS / 4))
        play.broker.thaw()

    def servers() -> Iterator[Callable[[], object]]:
        broker, redis = play.broker, play.redis
        troubles: list[list[Callable[[], object]]] = [
            [redis.kill, broker.kill, broker.start, redis.start],
            [freeze],
            [redis.kill, broker.stop, broker.start, redis.start],
        ]
        while not over.is_set():
            random.shuffle(troubles)
            for trouble in troubles:
                if not over.wait(random.uniform(2, 6)):
                    yield from trouble

    def workers() -> Iterator[Callable[[], object]]:
        while not over.wait(random.uniform(2, 6)):
            yield random.choice((play.kill_a_worker, play.kill_a_worker, play.deploy))

    def trouble() -> None:
        threads = Background(servers()), Background(workers())
        try:
            play.members.live(SECONDS, cuts=20)
        finally:
            over.set()
        play.members.until(lambda: not any(thread.is_alive() for thread in threads), "trouble is over")
        for thread in threads:
            thread.check()
        play.members.until(play.heard, "all workers are connected to the broker again")

    print(play.run(trouble))


def test_possible_loss_with_transient_exchanges_is_announced(
    start: Callable[..., GatewayProcess], broker: RabbitMQ, signer: Signer
) -> None:
    """Between the broker's return and a worker's nothing brings what is published to the stream."""
    gateway, token = start(WEB_CONCURRENCY="2"), signer.token("IDTOLD")
    with gateway.connect() as client:
        assert resume(client, token)["complete"]
        with Publisher(broker.url) as publisher:
            publisher.order("IDTOLD", 1)
            before = receive(client)["cursor"]
        broker.restart()
        told = receive(client)["resume"]
        assert not told["complete"]
        gateway.wait_ready()
        with Publisher(broker.url) as publisher:
            publisher.order("IDTOLD", 2)
        while "resume" in (frame := receive(client)):  # two workers may have found it at once
            told = frame["resume"]
            assert not told["complete"]
        assert frame["orderbook"]["id"] == 2
    for cursor, complete in ((before, False), (told["cursor"], True), (frame["cursor"], True)):
        with gateway.connect() as client:
            assert resume(client, token, cursor)["complete"] is complete


# ---- lost events are reported: no member takes an incomplete list for complete


def told_again(play: Stage, since: float) -> None:
    """Wait until all members have been notified of a loss since a monotonic time, and all workers read again.

    A worker may learn of it from another one, through the stream, and notice nothing itself.
    """
    members = play.members.members
    play.members.until(lambda: all(member.told_at > since for member in members), "all are notified")
    play.members.until(play.heard, "all workers read again")


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
    stage: Callable[..., Stage], lose: Callable[[RabbitMQ], None], workers: int, times: int
) -> None:
    play = stage(workers=workers)

    def trouble() -> None:
        for _ in range(times):
            began = time.monotonic()
            play.background(lambda: lose(play.broker))
            told_again(play, began)
            play.members.live(2, cuts=30)

    print(play.run(trouble, untold))
    assert all(member.gaps for member in play.members.members), "each was notified"


def test_retention_overtakes_a_worker_under_load(stage: Callable[..., Stage], own_broker: RabbitMQ) -> None:
    """A worker that is stopped for longer than events are kept misses some. Only its members are notified."""
    short = "peatio_ws.short"
    small = json.dumps({"max-length-bytes": 4_000_000, "stream-max-segment-size-bytes": 1_000_000})
    own_broker.ctl("set_policy", "--apply-to", "queues", "short", f"^{short}$", small)
    play = stage(workers=3, AMQP_HISTORY_QUEUE=short)

    def trouble() -> None:
        for _ in range(3):
            noticed = retention_noticed(play)
            worker = random.choice(play.gateways[0].workers())
            os.kill(worker, signal.SIGSTOP)
            play.background(lambda: overtake(own_broker, short))
            os.kill(worker, signal.SIGCONT)
            play.members.until(lambda before=noticed: retention_noticed(play) > before, "the worker notices")
            play.members.live(2, cuts=30)

    print(play.run(trouble, untold))
    assert any(member.gaps for member in play.members.members), "those who may have missed something were notified"


def overtake(broker: RabbitMQ, stream: str) -> None:
    """Publish until the stream no longer has what comes after all that may be on its way to a worker now."""
    body = json.dumps({"id": 1, "market": "btcusd", "padding": "." * 10_000}).encode()
    with Connection(broker.url) as connection, connection.channel() as channel:
        on_its_way = offset_of(connection, stream, "last") + 2 * PREFETCH
        while offset_of(connection, stream, "first") <= on_its_way:
            for _ in range(500):
                message = amqp.Message(body, application_headers={"uid": "IDFILLER"})
                channel.basic_publish(message, "peatio.orderbook")


def offset_of(connection: Connection, stream: str, which: str) -> int:
    """The offset of the first event, or about that of the last one."""
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


def retention_noticed(play: Stage) -> int:
    return sum(event.get("why") == REMOVED for event in play.gateways[0].events())
