"""A history stream whose only replica is on the other node of a RabbitMQ cluster, or on a dead node.

The gateway and the publisher are connected to `here`. RabbitMQ does not let a client read a stream on a node without a
replica, and refuses publishers whose message is routed to a stream that no living node can write to.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from amqp.exceptions import AMQPError, PreconditionFailed
from kombu import Connection
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from peatio_ws.amqp.history_stream.setup import FORMER_ARGUMENTS
from tests.support.gateway import GatewayProcess, Publisher, Signer, resume
from tests.support.servers import RabbitMQ, wait_until
from tests.support.stage import LONG

SECONDS = 300.0
"""A worker tries a refused stream about every 15 s, for up to 40 s; on a busy machine several trials fail."""
CONFIRM_SECONDS = 5.0
"""How long a publisher that has had confirms waits for the next one: RabbitMQ 3.10 loses confirms when a replica is
added, deleted or killed: it starts the stream's writer again."""
REFUSAL_SECONDS = 40.0
"""RabbitMQ 3.10 takes 30 s to tell a new channel that a stream has no coordinator."""
PAUSE = 0.01 if LONG else 0.04
"""Seconds between a confirm and the next order."""
UID = "IDANN"
STREAM = "peatio_ws.history"


class Numbers(threading.Thread):
    """Publishes orders one by one, waits for each confirm, and reconnects if none comes.

    A channel that used the stream before its node died never gets a confirm; a new one is refused after 30 s.

    Attributes:
        sure: numbers of orders that were confirmed.
        refused: when the broker refused an order, and with which code; 0 for no answer.
    """

    def __init__(self, url: str, confirm_seconds: float = CONFIRM_SECONDS) -> None:
        super().__init__(daemon=True)
        self._url, self._confirm_seconds = url, confirm_seconds
        self._over = threading.Event()
        self._number = 0
        self.sure: list[int] = []
        self.refused: list[tuple[float, int]] = []

    def run(self) -> None:
        while not self._over.is_set():
            try:
                with Publisher(self._url, confirm_seconds=REFUSAL_SECONDS) as publisher:
                    while not self._over.wait(PAUSE):
                        self._number += 1
                        publisher.order(UID, self._number)
                        self.sure.append(self._number)
                        publisher.confirm_seconds = self._confirm_seconds
            except (AMQPError, OSError) as error:
                self.refused.append((time.monotonic(), getattr(error, "code", 0)))

    def end(self) -> None:
        self._over.set()
        self.join(SECONDS)


class Member(threading.Thread):
    """Reads a connection that requested resuming, until it is closed.

    Attributes:
        got: number of each order and when it arrived.
        notices: for each `resume` notice, how many orders came before it and its `complete`.
    """

    def __init__(self, client: ClientConnection, token: str) -> None:
        super().__init__(daemon=True)
        self._client = client
        assert resume(client, token)["complete"]
        self.got: list[tuple[int, float]] = []
        self.notices: list[tuple[int, bool]] = []

    def run(self) -> None:
        try:
            for text in self._client:
                frame = json.loads(text)
                if "orderbook" in frame:
                    self.got.append((frame["orderbook"]["id"], time.monotonic()))
                elif "resume" in frame:
                    self.notices.append((len(self.got), frame["resume"]["complete"]))
        except ConnectionClosed:
            pass

    @property
    def last(self) -> int:
        return self.got[-1][0] if self.got else 0

    def numbers(self) -> list[int]:
        return [number for number, _ in self.got]

    def silence(self) -> float:
        """Return the longest time without an order, in seconds."""
        times = [moment for _, moment in self.got]
        return max(after - before for before, after in itertools.pairwise(times))


class Cluster:
    """A RabbitMQ cluster of two nodes.

    Attributes:
        here: the node to which gateways and publishers connect.
        there: the other node.
    """

    def __init__(self, folder: Path) -> None:
        self.here = RabbitMQ(folder / "rabbitmq-here")
        try:
            self.there = RabbitMQ(folder / "rabbitmq-there", self.here)
        except BaseException:
            self.here.close()
            raise

    def close(self) -> None:
        self.there.close()
        self.here.close()


class Place:
    """A virtual host with a history stream.

    Attributes:
        url, url_there: URLs of the virtual host on `here` and on `there`.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.name = cluster, uuid.uuid4().hex[:8]
        cluster.here.ctl("add_vhost", self.name)
        cluster.here.ctl("set_permissions", "-p", self.name, "guest", ".*", ".*", ".*")
        self.url = f"amqp://guest:guest@127.0.0.1:{cluster.here.port}/{self.name}"
        self.url_there = f"amqp://guest:guest@127.0.0.1:{cluster.there.port}/{self.name}"
        with Connection(self.url_there) as connection:
            channel = connection.default_channel
            # As an earlier version of the gateway on the other node would.
            channel.queue_declare(STREAM, durable=True, auto_delete=False, arguments=dict(FORMER_ARGUMENTS))
            channel.exchange_declare("peatio.orderbook", "fanout", durable=False, auto_delete=False)
            channel.queue_bind(STREAM, "peatio.orderbook")
        # RabbitMQ 3.10 adds no replica, now or later, to a node whose first one was deleted before it had started.
        wait_until(self._is_readable, "the node has its replica", SECONDS, 0.2)

    def add_replica(self) -> None:
        self.cluster.there.streams("add_replica", "--vhost", self.name, STREAM, self.cluster.here.name)

    def delete_replica(self) -> None:
        self.cluster.there.streams("delete_replica", "--vhost", self.name, STREAM, self.cluster.here.name)
        # For a moment the node accepts consumers of the stream, and sends them nothing.
        wait_until(lambda: not self._is_readable(), "the node knows that its replica is gone", SECONDS, 0.2)

    def _is_readable(self) -> bool:
        """Return whether the node `here` accepts a consumer of the stream."""
        with Connection(self.url) as connection:
            channel = connection.default_channel
            channel.basic_qos(0, 1, False)
            try:
                channel.basic_consume(STREAM, arguments={"x-stream-offset": "next"})
            except PreconditionFailed:
                return False
            return True

    def is_bound(self) -> bool:
        """Return whether Peatio's exchanges are bound to the stream, according to the node `here`."""
        words = ("list_bindings", "-p", self.name, "destination_name", "source_name")
        lines = [line.split("\t") for line in self.cluster.here.ctl(*words).splitlines()]
        return any(line[0] == STREAM and line[1].startswith("peatio.") for line in lines)


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Iterator[Cluster]:
    nodes = Cluster(folder)
    yield nodes
    nodes.close()


@pytest.fixture
def start(folder: Path, signer: Signer) -> Iterator[Callable[..., GatewayProcess]]:
    """Start gateways that use a `Place`."""
    running: list[GatewayProcess] = []

    def start_one(place: Place, wait: bool = True, urls: str = "") -> GatewayProcess:
        running.append(GatewayProcess(folder, {"AMQP_URL": urls or place.url, **signer.environ}, wait=wait))
        return running[-1]

    yield start_one
    for gateway in running:
        gateway.stop()


def remedies(gateway: GatewayProcess) -> list[str]:
    return [event["remedy"] for event in gateway.events() if "cannot read the history stream" in event["event"]]


def reads_again(gateway: GatewayProcess) -> bool:
    return any(event["event"] == "history stream readable again" for event in gateway.events())


def wait_for_orders(member: Member, numbers: Numbers, what: str) -> None:
    """Wait until the member receives orders published after this call."""
    before = numbers.sure[-1] if numbers.sure else 0
    wait_until(lambda: member.last > before + 20, what, SECONDS)


def missing(member: Member, numbers: Numbers) -> list[int]:
    """Return the confirmed orders that the member did not receive. Fails if one came twice or out of order."""
    got = member.numbers()
    assert got == sorted(set(got)), "an order came twice, or out of order"
    return sorted(set(numbers.sure) - set(got))


def test_stream_is_read_once_it_has_a_replica_here(
    cluster: Cluster, start: Callable[..., GatewayProcess], signer: Signer
) -> None:
    """Until then the gateway is ready and keeps its own history."""
    place = Place(cluster)
    place.delete_replica()
    began = time.monotonic()
    gateway = start(place)
    print(f"ready after {time.monotonic() - began:.1f} s")
    (remedy,) = remedies(gateway)
    assert "add_replica" in remedy, gateway.log()
    numbers = Numbers(place.url)
    with gateway.connect() as client:
        member = Member(client, signer.token(UID))
        member.start()
        numbers.start()
        wait_for_orders(member, numbers, "orders arrive through the worker's own queue")
        assert place.is_bound(), "the stream stays bound: other gateways may read it"
        began = time.monotonic()
        place.add_replica()
        wait_until(lambda: reads_again(gateway), "the stream is read", SECONDS)
        wait_for_orders(member, numbers, "orders arrive through the stream")
        print(f"stream read {time.monotonic() - began:.1f} s after the replica was added")
        numbers.end()
        wait_until(lambda: member.last >= numbers.sure[-1], "the last order arrives", SECONDS)
    assert not missing(member, numbers)
    assert not any(code for _, code in numbers.refused), "a publisher was refused"
    assert False in [complete for _, complete in member.notices], (
        "a cursor into its own history is not valid in the stream"
    )


def read_at(gateway: GatewayProcess) -> list[str]:
    """Return the brokers from which the gateway has read private events, in order."""
    lines = [line for line in gateway.events() if line["event"] == "receiving from the broker"]
    return [line["broker"].partition("/")[0] for line in lines if line["events"] == "private"]


@pytest.mark.parametrize("quiet", [False, pytest.param(True, marks=pytest.mark.long)])
def test_node_whose_replica_is_lost_is_left_for_the_other_one(
    cluster: Cluster, start: Callable[..., GatewayProcess], signer: Signer, quiet: bool
) -> None:
    """RabbitMQ 3.10 does not notify the reader, even if nothing is published."""
    place = Place(cluster)
    here, there = (f"127.0.0.1:{node.port}" for node in (cluster.here, cluster.there))
    gateway = start(place, urls=f"{place.url};{place.url_there}")
    numbers = Numbers(place.url_there)
    with gateway.connect() as client:
        member = Member(client, signer.token(UID))
        member.start()
        if not quiet:
            numbers.start()
            wait_for_orders(member, numbers, "orders arrive through the stream")
        assert read_at(gateway) == [here]
        began = time.monotonic()
        place.delete_replica()
        wait_until(lambda: read_at(gateway) == [here, there], "the worker reads at the other node", SECONDS)
        print(f"{'quiet' if quiet else 'busy'}: the other node is read after {time.monotonic() - began:.1f} s")
        if quiet:
            numbers.start()
        wait_for_orders(member, numbers, "orders arrive through the other node")
        numbers.end()
        wait_until(lambda: member.last >= numbers.sure[-1], "the last order arrives", SECONDS)
        print(f"{member.silence():.1f} s of silence")
    assert not missing(member, numbers)
    assert not member.notices, "the stream continues, so no event can be missing"
    assert not remedies(gateway)


@pytest.mark.long
def test_publishers_work_again_when_the_only_replica_is_dead(
    cluster: Cluster, start: Callable[..., GatewayProcess], signer: Signer
) -> None:
    """Delete the replica on `here` while the gateway reads it, then kill the node with the last replica."""
    place = Place(cluster)
    reader = start(place)
    assert not remedies(reader)
    numbers = Numbers(place.url)
    with reader.connect() as client:
        cursor = resume(client, signer.token(UID))["cursor"]
    with reader.connect() as client:
        member = Member(client, signer.token(UID))
        member.start()
        numbers.start()
        wait_for_orders(member, numbers, "orders arrive through the stream")
        place.delete_replica()
        wait_until(lambda: len(remedies(reader)) == 1, "the worker notices that its replica is gone", SECONDS)
        wait_for_orders(member, numbers, "orders arrive through the worker's own queue")
        assert place.is_bound(), "the stream stays bound: other gateways may read it"
        print(f"replica deleted: {member.silence():.1f} s of silence")
        assert_notified_of_one_gap(member, numbers)
        own_from, orders_before = member.last, len(member.got)

        cluster.there.kill()
        began = time.monotonic()
        late_gateway = start(place, wait=False)
        late_gateway.wait_ready()
        print(f"a gateway that starts now is ready after {time.monotonic() - began:.1f} s")
        wait_until(lambda: not place.is_bound(), "the stream is unbound", SECONDS, 0.5)
        print(f"unbound after {time.monotonic() - began:.1f} s")
        unbound = len(numbers.sure)
        wait_until(lambda: len(numbers.sure) > unbound + 100, "publishing works again", SECONDS)
        refused = list(numbers.refused)
        print(f"publishing works after {time.monotonic() - began:.1f} s")
        print("refused", [(round(moment - began, 1), code) for moment, code in refused])
        wait_for_orders(member, numbers, "orders arrive while the node is dead")

        cluster.there.start()
        cluster.there.ctl("await_startup")
        place.add_replica()
        began = time.monotonic()
        wait_until(lambda: reads_again(reader) and reads_again(late_gateway), "both read the stream", SECONDS)
        print(f"both read the stream {time.monotonic() - began:.1f} s after the replica was added")
        assert place.is_bound()
        wait_for_orders(member, numbers, "orders arrive through the stream")
        numbers.end()
        wait_until(lambda: member.last >= numbers.sure[-1], "the last order arrives", SECONDS)
    assert numbers.refused == refused, "a publisher was refused when the node came back"
    assert not [number for number in missing(member, numbers) if number > own_from]
    assert False in [complete for at, complete in member.notices if at > orders_before], (
        "a cursor into its own history is not valid"
    )
    with reader.connect() as client:
        assert not resume(client, signer.token(UID), cursor)["complete"], "the stream was not bound for a while"


def assert_notified_of_one_gap(member: Member, numbers: Numbers) -> None:
    lost = [number for number in missing(member, numbers) if number < member.last]
    if lost:
        assert lost == [number for number in numbers.sure if lost[0] <= number <= lost[-1]], "more than one gap"
        before = sum(number < lost[0] for number in member.numbers())
        # The notice comes just before or just after the first order that follows the gap.
        assert {(before, False), (before + 1, False)} & set(member.notices)
