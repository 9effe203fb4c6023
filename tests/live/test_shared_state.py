"""One suite over both kinds of shared state: a single worker's, and Redis.

A test calls `states` with as many workers as it needs. Features that only Redis shares are tested for both kinds, too:
without Redis each worker has them for itself.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import gevent.socket
import pytest
import redis as client_of

from peatio_ws.auth.lockout import Lockout
from peatio_ws.auth.revocations import Revocation, Revocations
from peatio_ws.cluster import commands
from peatio_ws.cluster.commands import Answer, Command
from peatio_ws.cluster.local_state import ConnectionSlot, SharedState, open_shared_state
from peatio_ws.protocol.deliveries import read
from peatio_ws.protocol.private_events.order import Order
from tests.support.servers import Redis
from tests.unit.samples import on_orderbook

States = Callable[..., list[SharedState]]
LIMIT = 3


class Worker:
    """The functions of a worker that a state calls."""

    def __init__(self) -> None:
        self.books: dict[str, bytes] = {}
        self.wants = False

    def export(self) -> Any:
        return list(self.books.items())

    def adopt(self, name: str, body: bytes, fresh: bool) -> bool:
        self.books[name] = body
        return True

    def needs_book(self) -> bool:
        return self.wants

    def execute(self, command: Command) -> Iterator[Answer]:
        return iter(())

    def close_revoked(self) -> int:
        return 0


@pytest.fixture(params=["alone", "redis"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def own_redis(kind: str, folder: Path) -> Iterator[Redis | None]:
    server = Redis(folder / f"redis-{uuid.uuid4().hex}") if kind == "redis" else None
    yield server
    if server is not None:
        server.kill()


@pytest.fixture
def states(own_redis: Redis | None, monkeypatch: pytest.MonkeyPatch) -> Iterator[States]:
    # Patches redis-py only: this process runs other tests, too.
    monkeypatch.setattr("redis.connection.socket", gevent.socket)
    running: list[SharedState] = []

    def start(*workers: Worker) -> list[SharedState]:
        for worker in workers:
            url = own_redis.url if own_redis is not None else None
            state = open_shared_state(url, Revocations(), Lockout(LIMIT))
            state.start(worker, worker)
            running.append(state)
        return running

    yield start
    for state in running:
        state.stop()


def until(check: Callable[[], Any], what: str, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        gevent.sleep(0.02)


def order(number: int, state: str = "wait") -> Order:
    event = read(on_orderbook({"id": number, "state": state}, uid="IDANN"))
    assert isinstance(event, Order)
    return event


def recalled(state: SharedState, number: int) -> Any:
    seen = state.recall(b"%d" % number, "IDANN")
    return None if seen is None else json.loads(seen)["state"]


def test_an_order_is_recalled_as_last_seen(states: States, kind: str) -> None:
    one, other = states(Worker(), Worker())
    one.remember(order(1))
    one.remember(order(1, "done"))
    assert recalled(one, 1) == "done"
    assert recalled(one, 2) is None
    other.remember(order(2, "cancel"))

    def known() -> bool:
        other.load()
        gevent.sleep(0.15)
        return recalled(other, 1) == "done"

    if kind == "redis":
        until(known, "another worker knows the order")
    assert recalled(other, 2) == "cancel", "the worker forgot what it has seen itself"


def test_more_orders_than_a_page_are_all_recalled(states: States, kind: str) -> None:
    one, other = states(Worker(), Worker())
    for number in range(450):
        one.remember(order(number))
    assert all(recalled(one, number) == "wait" for number in range(450))

    def known() -> bool:
        other.load()
        gevent.sleep(0.15)
        return all(recalled(other, number) == "wait" for number in range(450))

    if kind == "redis":
        until(known, "another worker knows the orders")


def test_a_member_id_is_looked_up(states: States, own_redis: Redis | None) -> None:
    (state,) = states(Worker())
    if own_redis is not None:
        with client_of.Redis.from_url(own_redis.url, protocol=2) as connection:
            connection.hset("peatio:members", mapping={"IDANN": 7, "IDBAD": "none"})
    expected = {"IDANN": 7 if own_redis is not None else None, "IDBAD": None, "IDNEW": None}
    for uid, number in expected.items():
        lookup = state.look_up(uid)
        until(lambda lookup=lookup: lookup.known, "answered")
        assert lookup.number == number
        state.forget_lookup(lookup)


def test_many_lookups_at_once_are_all_answered(states: States, own_redis: Redis | None) -> None:
    (state,) = states(Worker())
    numbers = {f"ID{number}": number + 1 for number in range(1000)}
    if own_redis is not None:
        with client_of.Redis.from_url(own_redis.url, protocol=2) as connection:
            connection.hset("peatio:members", mapping=numbers)
    waiting = {uid: gevent.spawn(state.look_up, uid) for uid in numbers}
    gevent.joinall(list(waiting.values()))
    lookups = {uid: one.value for uid, one in waiting.items()}
    until(lambda: all(one.known for one in lookups.values()), "all are answered")
    assert {uid: one.number for uid, one in lookups.items()} == (
        numbers if own_redis is not None else dict.fromkeys(numbers)
    )


def test_member_id_lookup_is_answered_later(states: States, own_redis: Redis | None) -> None:
    (state,) = states(Worker())
    until(lambda: own_redis is None or state.connected, "connected")
    if own_redis is not None:
        own_redis.kill()
    answers: list[tuple[str, int | None]] = []
    lookups = [state.look_up(uid) for uid in ("IDANN", "IDANN", "IDBOB", "IDGONE")]
    for lookup in lookups:
        if not lookup.known:
            lookup.on_answer = lambda number, uid=lookup.uid: answers.append((uid, number))  # type: ignore[misc]
    state.forget_lookup(lookups[-1])
    if own_redis is None:
        assert [(one.known, one.number) for one in lookups] == [(True, None)] * 4
        return
    own_redis.start()
    until(lambda: len(answers) == 3, "all three are notified")
    assert sorted(answers) == [("IDANN", None), ("IDANN", None), ("IDBOB", None)]
    assert not state._members._unanswered  # type: ignore[attr-defined]


def test_connection_slots_are_released(states: States, own_redis: Redis | None) -> None:
    one, other = states(Worker(), Worker())
    refused: list[str] = []
    slots = [
        ConnectionSlot("member:IDANN", LIMIT, lambda number=number: refused.append(str(number))) for number in range(4)
    ]  # type: ignore[misc]
    for number, slot in enumerate(slots):
        (one, other)[number % 2].claim_slot(slot)
    if own_redis is None:
        gevent.sleep(0.01)
        assert not refused, "a worker without Redis refused a connection here; it counts them in the registry"
        return
    until(lambda: len(refused) == 1, "one connection is refused")
    with client_of.Redis.from_url(own_redis.url, protocol=2) as connection:
        for number, slot in enumerate(slots):
            (one, other)[number % 2].release_slot(slot)
        until(lambda: connection.zcard("peatio_ws:connections:member:IDANN") == 0, "all slots are released")


def test_failed_tokens_lock_an_address(states: States, own_redis: Redis | None) -> None:
    one, other = states(Worker(), Worker())
    for state in (one, one, other) if own_redis is not None else (one, one, one):
        state.lockout.add("203.0.113.7", time.monotonic())
    until(lambda: one.lockout.seconds_left("203.0.113.7", time.monotonic()) > 0, "the worker locks the address out")
    assert one.lockout.seconds_left("203.0.113.8", time.monotonic()) == 0
    if own_redis is not None:
        until(lambda: other.lockout.seconds_left("203.0.113.7", time.monotonic()) > 0, "the other worker, too")
        with client_of.Redis.from_url(own_redis.url, protocol=2) as connection:
            assert 0 < connection.pttl("peatio_ws:failures:203.0.113.7") <= 60_000


def test_books_are_requested_from_another_worker(states: States, kind: str) -> None:
    has, asks = Worker(), Worker()
    has.books["btcusd"] = b"book"
    _, state = states(has, asks)
    asks.wants = True
    state.ask_books()
    if kind == "redis":
        until(lambda: asks.books == has.books, "the book arrives")
    else:
        assert not asks.books, "a book came from nowhere"


def test_revocations_reach_every_worker(states: States, own_redis: Redis | None) -> None:
    one, other = states(Worker(), Worker())
    one.wait()
    revoked = Revocation("IDANN", time.time() + 600, "jti")
    one.revocations.add(revoked, time.time())
    assert list(one.revocations.known(time.time())) == [revoked]
    if own_redis is not None:
        with client_of.Redis.from_url(own_redis.url, protocol=2) as connection:
            connection.zadd("peatio_ws:revocations", {commands.encode(revoked): revoked.until})
            connection.set("peatio_ws:revocations:version", "another")
        until(lambda: list(other.revocations.known(time.time())) == [revoked], "the other worker knows the revocation")
