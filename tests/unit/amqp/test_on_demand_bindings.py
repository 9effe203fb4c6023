"""Keys are bound for their first client and unbound some time after the last one, at a bounded cost."""

from __future__ import annotations

import time

import gevent
import pytest
from amqp.exceptions import NotFound
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from peatio_ws.amqp import on_demand_bindings
from peatio_ws.amqp.on_demand_bindings import (
    BACKLOG,
    LINGER_SECONDS,
    REFUSED_SECONDS,
    WIDE_SECONDS,
    WINDOW,
    OnDemandBindings,
)
from tests.unit.samples import Bindings

MOST = 20
WAIT = 30


@pytest.fixture
def broker() -> Bindings:
    return Bindings()


@pytest.fixture
def needed(broker: Bindings) -> OnDemandBindings:
    made = OnDemandBindings("topic", ("#",), MOST)
    made.attach(broker, "q", lambda: None)
    return made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(on_demand_bindings.time, "monotonic", lambda: now[0])
    return now


def acquire_and_answer(needed: OnDemandBindings, broker: Bindings, *keys: str) -> None:
    """Acquire keys like a client, which waits for the broker's answers."""
    client = gevent.spawn(needed.acquire, keys)
    gevent.idle()
    broker.answer()
    client.get(timeout=WAIT)


def test_only_the_first_client_of_a_key_waits_for_its_binding(needed: OnDemandBindings, broker: Bindings) -> None:
    first, second = gevent.spawn(needed.acquire, ["a", "b"]), gevent.spawn(needed.acquire, ["b"])
    gevent.idle()
    assert broker.requests == [("bind", "a"), ("bind", "b")]
    broker.answer(1)
    gevent.idle()
    assert not first.ready()
    assert not second.ready(), "the client did not wait for an answer to another client's request"
    broker.answer()
    gevent.joinall([first, second], timeout=WAIT, raise_error=True)
    needed.acquire(["a"])
    assert len(broker.requests) == 2


def test_client_does_not_wait_for_its_key_while_a_queue_is_bound_wide(
    broker: Bindings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_demand_bindings, "BIND_SECONDS", 2.0 * WAIT)
    needed = OnDemandBindings("topic", ("#",), MOST)
    needed.acquire(["a"])
    clients = []

    def bind(*_: str) -> None:
        clients.append(gevent.spawn(needed.acquire, ["b"]))
        gevent.idle()
        assert not clients[0].ready()

    monkeypatch.setattr(broker, "queue_bind", bind)
    needed.attach(broker, "q", lambda: None)
    clients[0].get(timeout=WAIT)
    assert ("bind", "b") in broker.requests


def test_key_is_unbound_some_time_after_its_last_client(
    needed: OnDemandBindings, broker: Bindings, clock: list[float]
) -> None:
    acquire_and_answer(needed, broker, "a")
    acquire_and_answer(needed, broker, "a")
    needed.release(["a"])
    clock[0] += 2 * LINGER_SECONDS
    needed.sweep(clock[0])
    assert broker.bound == {"a"}
    needed.release(["a"])
    needed.sweep(clock[0] + LINGER_SECONDS / 2)
    needed.acquire(["a"])
    needed.sweep(clock[0] + 2 * LINGER_SECONDS)
    assert broker.bound == {"a"}, "the key was unbound although a client needs it again"
    needed.release(["a"])
    needed.sweep(clock[0] + 2 * LINGER_SECONDS)
    broker.answer()
    assert broker.bound == needed.keys == set()


def test_key_needed_again_during_unbinding_is_bound_again(needed: OnDemandBindings, broker: Bindings) -> None:
    acquire_and_answer(needed, broker, "a")
    needed.release(["a"])
    needed.sweep(time.monotonic() + 2 * LINGER_SECONDS)
    assert broker.requests[-1] == ("unbind", "a")
    acquire_and_answer(needed, broker, "a")
    broker.answer()
    assert broker.bound == {"a"}


def test_clients_do_not_wait_for_an_unreachable_broker(needed: OnDemandBindings, broker: Bindings) -> None:
    waits = gevent.spawn(needed.acquire, ["a"])
    gevent.idle()
    needed.detach()
    waits.get(timeout=WAIT)
    needed.acquire(["b"])
    again = Bindings()
    needed.attach(again, "q2", lambda: None)
    again.answer()
    assert again.bound == {"a", "b"}
    again.broken = True
    needed.acquire(["c"])
    needed.release(["a", "b", "c"])
    assert needed.keys == {"a", "b", "c"}


def test_interrupted_client_releases_its_keys(
    needed: OnDemandBindings, broker: Bindings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "send_method", lambda *_: gevent.sleep(60))  # the broker accepts no data
    with gevent.Timeout(0.01, False):
        needed.acquire(["a", "b"])
    needed.release(["a", "b"])
    needed.sweep(time.monotonic() + 2 * LINGER_SECONDS)
    assert needed.keys == set()


def test_new_connection_begins_with_a_wildcard_binding(needed: OnDemandBindings) -> None:
    """No client waits for members' bindings, however many there are."""
    needed.detach()
    keys = [f"key{number}" for number in range(MOST)]
    for key in keys:
        needed.acquire([key])
    again, notified = Bindings(), []
    needed.attach(again, "q", lambda: notified.append(True))
    assert notified == [True]
    assert again.requests[0] == ("wait", "#")
    assert again.bound == {"#"}
    assert len(again.unanswered) == WINDOW
    again.answer()
    needed.sweep(time.monotonic())
    again.answer()
    assert again.bound == set(keys)


def test_without_keys_nothing_is_bound(broker: Bindings) -> None:
    notified: list[bool] = []
    OnDemandBindings("topic", ("#",), MOST).attach(broker, "q", lambda: notified.append(True))
    assert (notified, broker.requests) == ([True], [])


def test_too_many_keys_are_replaced_by_a_wildcard(
    needed: OnDemandBindings, broker: Bindings, clock: list[float]
) -> None:
    """Without the limit, 300 clients with 200 names each delayed a worker's events for minutes."""
    for number in range(10 * MOST):
        acquire_and_answer(needed, broker, f"key{number}")
    assert "#" in broker.bound
    assert len(broker.requests) <= 2 * MOST
    needed.release([f"key{number}" for number in range(2, 10 * MOST)])
    clock[0] += WIDE_SECONDS + LINGER_SECONDS + 1
    for _ in range(3):
        needed.sweep(clock[0])
        broker.answer()
    assert broker.bound == {"key0", "key1"}


def test_in_a_rush_no_client_waits_for_other_clients_keys(broker: Bindings) -> None:
    needed = OnDemandBindings("topic", ("#",), 10 * BACKLOG)
    needed.attach(broker, "q", lambda: None)
    clients = [gevent.spawn(needed.acquire, [f"key{number}"]) for number in range(2 * BACKLOG)]
    gevent.idle()
    broker.answer(WINDOW + 1)
    gevent.joinall(clients, timeout=WAIT, raise_error=True)
    assert all(client.ready() for client in clients)
    assert "#" in broker.bound
    needed.sweep(time.monotonic())
    broker.answer()
    assert len(broker.bound) == 2 * BACKLOG + 1, "not every key was bound"


def test_keys_that_change_too_fast_are_replaced_by_a_wildcard(
    needed: OnDemandBindings, broker: Bindings, clock: list[float]
) -> None:
    for number in range(30 * MOST):
        key = f"key{number}"
        acquire_and_answer(needed, broker, key)
        needed.release([key])
        clock[0] += LINGER_SECONDS / 1000
        needed.sweep(clock[0])
        broker.answer()
    assert "#" in broker.bound
    assert len(broker.requests) <= 4 * MOST


def test_refused_key_affects_no_other_key(needed: OnDemandBindings, broker: Bindings, clock: list[float]) -> None:
    """RabbitMQ closes the channel when it refuses a binding."""
    broker.refused = {"bad"}
    acquire_and_answer(needed, broker, "a", "bad", "b")
    assert broker.bound == {"a", "b"}
    acquire_and_answer(needed, broker, "c")
    assert broker.bound == {"a", "b", "c"}
    asked = broker.requests.count(("bind", "bad"))
    assert needed.sweep(clock[0] + 1) == []
    assert broker.requests.count(("bind", "bad")) == asked, "a refused key was tried again too soon"
    broker.refused = set()
    clock[0] += REFUSED_SECONDS + 1
    assert needed.sweep(clock[0]) == ["bad"], "its events may be missing until now"
    broker.answer()
    assert broker.bound == {"a", "bad", "b", "c"}


def test_refused_wildcards_are_replaced_by_keys(needed: OnDemandBindings) -> None:
    needed.detach()
    needed.acquire(["a", "b"])
    again, notified = Bindings(), []
    again.refused = {"#"}
    needed.attach(again, "q", lambda: notified.append(True))
    assert not notified, "reported as bound before the keys were"
    again.answer()
    assert again.bound == {"a", "b"}
    assert notified == [True]


def test_other_channel_errors_end_the_connection(needed: OnDemandBindings, broker: Bindings) -> None:
    client = gevent.spawn(needed.acquire, ["a"])
    gevent.idle()
    with pytest.raises(NotFound):
        broker._callbacks[on_demand_bindings.spec.Channel.Close](404, "NOT_FOUND", *on_demand_bindings.spec.Queue.Bind)
    needed.detach()
    client.get(timeout=WAIT)


class AnyOrder(RuleBasedStateMachine):
    """Whatever clients do and whenever the broker answers, all needed keys are bound once all requests are answered."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.on_demand, self.broker = OnDemandBindings("topic", ("#",), 3), Bindings()
        self.held: list[str] = []
        self.refused = {"k5"}
        self.connect()

    @rule()
    def connect(self) -> None:
        self.broker = Bindings()
        self.broker.refused = self.refused
        self.on_demand.attach(self.broker, "q", lambda: None)

    @rule()
    def lose(self) -> None:
        self.on_demand.detach()

    @rule(key=st.sampled_from(["k0", "k1", "k2", "k3", "k4", "k5"]))
    def acquire(self, key: str) -> None:
        client = gevent.spawn(self.on_demand.acquire, [key])
        gevent.idle()
        client.kill()
        self.held.append(key)

    @rule(number=st.integers(0, 100))
    def release(self, number: int) -> None:
        if self.held:
            self.on_demand.release([self.held.pop(number % len(self.held))])

    @rule(most=st.integers(1, 5))
    def answer(self, most: int) -> None:
        self.broker.answer(most)

    @rule(seconds=st.sampled_from([1, 10, 100]))
    def sweep(self, seconds: float) -> None:
        self.now += seconds
        self.on_demand.sweep(time.monotonic() + self.now)

    @invariant()
    def needed_keys_are_bound(self) -> None:
        if self.on_demand._channel is None:
            return
        self.broker.answer()
        bound = self.broker.bound
        assert "#" in bound or set(self.held) - self.refused <= bound


TestAnyOrder = AnyOrder.TestCase


def test_answers_of_a_lost_connection_are_ignored(needed: OnDemandBindings, broker: Bindings) -> None:
    client = gevent.spawn(needed.acquire, ["a", "b"])
    gevent.idle()
    needed.detach()
    broker.answer()
    client.get(timeout=WAIT)
