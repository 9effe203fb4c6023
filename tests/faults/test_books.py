"""Order books while workers and Redis restart under load: clients soon have a correct book, and never a wrong one."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis as RedisClient

from peatio_ws.cluster.redis_keys import BOOKS_KEY
from tests.support.followers import UNPINGED, Feeding, Follower, Followers, Market
from tests.support.gateway import GatewayProcess, Publisher, receive
from tests.support.servers import RabbitMQ, Redis

pytestmark = pytest.mark.usefixtures("empty_history")

RATE = int(os.environ.get("PEATIO_WS_TEST_RATE") or 250)
"""Increments a second; `make views-long` sets 500."""

Start = Callable[..., GatewayProcess]


@pytest.fixture
def own_redis(folder: Path) -> Iterator[Redis]:
    server = Redis(folder / "redis-to-kill")
    yield server
    server.kill()


def kill_a_worker(gateway: GatewayProcess, followers: Followers) -> int:
    """Kill a worker with SIGKILL. Return the pid of the worker that gunicorn starts in its place."""
    before = set(gateway.workers())
    os.kill(max(before), signal.SIGKILL)
    followers.until(lambda: bool(set(gateway.workers()) - before), "a new worker has started")
    return max(set(gateway.workers()) - before)


def is_served_by(pid: int, follower: Follower) -> bool:
    """Return whether this process has the other end of a follower's connection open."""
    ours, theirs = follower.sock.getsockname()[1], follower.sock.getpeername()[1]
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inode = next(row[9] for row in rows if row[1].endswith(f":{theirs:04X}") and row[2].endswith(f":{ours:04X}"))
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if os.readlink(descriptor) == f"socket:[{inode}]":
                return True
        except OSError:
            continue
    return False


def join_worker(pid: int, port: int, followers: Followers) -> Follower:
    """Connect until the connection is served by this worker."""
    while True:
        follower = followers.join(port)
        followers.until(lambda one=follower: bool(one.opened), "the connection is answered")
        if is_served_by(pid, follower):
            return follower
        followers.leave(follower)


def listening(client: RedisClient) -> int:
    """Return how many workers would receive a request for books."""
    ((_, count),) = client.pubsub_numsub(BOOKS_KEY)
    return int(count)


def join_again(port: int, followers: Followers) -> None:
    """Reconnect all followers whose connection has ended."""
    for follower in [follower for follower in followers.all if follower.ended]:
        followers.leave(follower)
        followers.join(port)


def have_all(port: int, followers: Followers) -> bool:
    """Return whether every follower has all increments. Reconnects those that read only now that their connection has
    ended: what had arrived before comes first."""
    join_again(port, followers)
    return all(one.done for one in followers.all)


@pytest.mark.parametrize(("gateways", "workers"), [(1, 3), (2, 1)])
def test_worker_that_replaces_a_killed_one_has_the_books_at_once(
    start: Start, broker: RabbitMQ, redis: Redis, publisher: Publisher, gateways: int, workers: int
) -> None:
    running = [start(**UNPINGED, REDIS_URL=redis.url, WEB_CONCURRENCY=str(workers)) for _ in range(gateways)]
    market = Market(f"killed{gateways}.ob", 5 * RATE)
    publisher.event(f"public.{market.name}-snap", market.snapshots([0])[0])
    feed = Feeding(broker.url, market, RATE, snapshots=(), until=market.last - RATE)
    with Followers(market, again=True) as followers, feed:
        for number in range(120):
            followers.join(running[number % gateways].port)
        followers.until(lambda: all(one.book for one in followers.all), "every follower has the book")
        for _ in range(2):
            followers.keep_up(feed)
            feed.go_on(market.last - RATE)
            pid, there = kill_a_worker(running[-1], followers), time.monotonic()
            join_again(running[-1].port, followers)
            first = join_worker(pid, running[-1].port, followers)
            followers.until(lambda one=first: one.book is not None, "the follower has the new worker's book")
            print(
                f"the book {first.served - there:.2f} s after the fork, {first.served - first.opened:.2f} s after 101"
            )
        feed.go_on()
        followers.until(lambda: have_all(running[-1].port, followers), "every follower has all increments")
        followers.check_books()


def test_new_subscriber_waits_for_a_snapshot_only_without_redis(
    start: Start, broker: RabbitMQ, own_redis: Redis, publisher: Publisher
) -> None:
    stays, dies = (start(**UNPINGED, REDIS_URL=own_redis.url) for _ in range(2))
    market = Market("lonely.ob", 8 * RATE)
    publisher.event(f"public.{market.name}-snap", market.snapshots([0])[0])
    snapshot = market.last // 2
    feed = Feeding(broker.url, market, RATE, snapshots=[snapshot], until=snapshot - 1)
    with Followers(market, again=True) as followers, feed:
        for _ in range(20):
            followers.join(stays.port)
        followers.until(lambda: all(one.book for one in followers.all), "every follower has the book")
        own_redis.kill()
        kill_a_worker(dies, followers)
        waiting = [followers.join(dies.port) for _ in range(20)]
        followers.until(lambda: feed.sent == snapshot - 1, "the next publication is the snapshot")
        followers.until(lambda: all(one.waits for one in waiting), "no worker has a correct book")
        feed.go_on(market.last - RATE)
        followers.until(lambda: all(one.book for one in waiting), "the waiting followers have the snapshot")
        assert {one.sequence for one in waiting} == {snapshot}
        own_redis.start()
        with RedisClient.from_url(own_redis.url) as client:
            followers.until(lambda: listening(client) == 2, "both workers listen to Redis again")
        followers.keep_up(feed)
        feed.go_on(market.last - RATE)
        kill_a_worker(dies, followers)
        join_again(dies.port, followers)
        followers.until(
            lambda: all(one.book for one in followers.all), "every follower has the book of the other worker"
        )
        feed.go_on()
        followers.until(lambda: have_all(dies.port, followers), "every follower has all increments")
        followers.check_books()


def test_unanswered_request_for_books_is_repeated_for_waiting_clients(
    start: Start, broker: RabbitMQ, redis: Redis, publisher: Publisher
) -> None:
    """The other worker is stopped for longer than a request waits for its answer, and no snapshot follows."""
    busy, dies = (start(**UNPINGED, REDIS_URL=redis.url) for _ in range(2))
    market = Market("busy.ob", 7 * RATE)
    publisher.event(f"public.{market.name}-snap", market.snapshots([0])[0])
    (other,) = busy.workers()
    feed = Feeding(broker.url, market, RATE, snapshots=(), until=market.last - RATE)
    with Followers(market) as followers, feed:
        followers.join(dies.port)
        followers.until(lambda: followers.all[0].has(1), "the follower has the first increment")
        os.kill(other, signal.SIGSTOP)
        try:
            kill_a_worker(dies, followers)
            dies.wait_ready()
            until = time.monotonic() + 1.5
            followers.until(lambda: time.monotonic() > until, "the request has timed out")
        finally:
            os.kill(other, signal.SIGCONT)
        join_again(dies.port, followers)
        followers.until(lambda: all(one.book for one in followers.all), "every follower has the book")
        feed.go_on()
        followers.until(lambda: have_all(dies.port, followers), "every follower has all increments")
        followers.check_books()


@pytest.mark.parametrize(("books", "rows"), [(1, 10), (16, 9_000)])
def test_books_of_a_silent_market_come_at_once_despite_a_small_outbox(
    start: Start, redis: Redis, publisher: Publisher, books: int, rows: int
) -> None:
    """No event reaches the new worker, and the books may be larger than a client's outbox when its subscription waits
    for them."""
    stays, dies = (start(**UNPINGED, REDIS_URL=redis.url, WEBSOCKET_OUTBOX_BYTES="300000") for _ in range(2))
    names = [f"silent{books}-{number}.ob" for number in range(books)]
    for name in names:
        publisher.event(f"public.{name}-snap", {"asks": [[f"{n}.0", "1"] for n in range(rows)], "sequence": 1})
    for gateway in (stays, dies):
        with gateway.connect(f"public?stream={names[-1]}-inc", max_size=None) as client:
            assert {next(iter(receive(client))) for _ in range(2)} == {f"{names[-1]}-snap", "success"}
    os.kill(max(dies.workers()), signal.SIGKILL)
    with dies.connect("public?stream=" + ",".join(f"{name}-inc" for name in names), max_size=None) as client:
        began = time.monotonic()
        frames = [next(iter(receive(client))) for _ in range(len(names) + 1)]
        print(f"{len(names)} books {time.monotonic() - began:.2f} s after the connection")
    assert sorted(frames) == sorted(["success", *(f"{name}-snap" for name in names)])
