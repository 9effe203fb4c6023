"""Operations on a dedicated channel, and the canaries that show whether bindings still exist."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from amqp import spec
from amqp.exceptions import AccessRefused, NotFound, PreconditionFailed

from peatio_ws.amqp.topology import Canaries, attempt, every_public, exchanges_of, is_missing_canary, public


class Broker:
    """A broker with exchanges; each operation has its own channel.

    Attributes:
        exchanges: existing exchanges, with the sources of their bindings.
        calls: recorded operations.
        refuses: exchanges from which it allows no binding.
    """

    def __init__(self) -> None:
        self.exchanges: dict[str, tuple[bool, str | None]] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.refuses: set[str] = set()
        self.closed = 0
        self.transport = SimpleNamespace(driver_type="amqp")
        self.default_channel = self

    def channel(self) -> Broker:
        return self

    def close(self) -> None:
        self.closed += 1

    def exchange_declare(self, name: str, _kind: str, passive: bool = False, durable: bool = False, **how: Any) -> None:
        self.calls.append(("look" if passive else "declare", name))
        if how.get("nowait"):
            return
        if passive and name not in self.exchanges:
            raise NotFound
        if not passive and name in self.exchanges and self.exchanges[name][0] is not durable:
            raise PreconditionFailed
        self.exchanges.setdefault(name, (durable, None))

    def exchange_bind(self, destination: str, source: str, _key: str) -> None:
        if destination in self.refuses:
            raise AccessRefused
        self.exchanges[source] = (self.exchanges[source][0], destination)

    def exchange_delete(self, name: str) -> None:
        self.calls.append(("delete", name))
        self.exchanges.pop(name, None)


@pytest.fixture
def broker() -> Any:
    return Broker()


@pytest.mark.parametrize(("error", "closed"), [(None, 1), (NotFound(), 1), (TimeoutError(), 0)])
def test_channel_is_closed_unless_the_broker_is_silent(broker: Any, error: Exception | None, closed: int) -> None:
    """Closing waits for an answer, and the caller's time is over."""

    def action(_channel: Any) -> None:
        if error is not None:
            raise error

    if error is None:
        attempt(broker, action)
    else:
        with pytest.raises(type(error)):
            attempt(broker, action)
    assert broker.closed == closed


def test_canaries_are_bound_and_checked(broker: Any) -> None:
    canaries = Canaries("q.bound", durable=True)
    assert not canaries.exist(broker, ["a", "b"])
    canaries.declare(broker, [("a", True), ("b", False)])
    assert broker.exchanges == {"q.bound.a": (True, "a"), "q.bound.b": (False, "b")}
    assert canaries.exist(broker, ["a", "b"])
    broker.calls.clear()
    canaries.check_bindings()
    assert broker.calls == [("look", "q.bound.a"), ("look", "q.bound.b")]
    canaries.forget()
    canaries.check_bindings()
    assert len(broker.calls) == 2, "without a connection there is nothing to check"
    canaries.remove(broker, ["a", "b"])
    assert not broker.exchanges


def test_canary_that_may_not_be_bound_is_not_checked(broker: Any) -> None:
    broker.refuses = {"a"}
    canaries = Canaries("w", ".7")
    canaries.declare(broker, [("a", False), ("b", False)])
    broker.calls.clear()
    canaries.check_bindings()
    assert broker.calls == [("look", "w.b.7")]
    assert canaries.exist(broker, ["a"]), "an unbound canary at least shows a restart of the broker"


def test_canary_of_a_formerly_durable_exchange_is_replaced(broker: Any) -> None:
    canaries = Canaries("w", durable=True)
    broker.exchanges["w.a"] = (True, None)
    canaries.declare(broker, [("a", False)])
    assert broker.exchanges["w.a"] == (False, "a")


@pytest.mark.parametrize(
    ("error", "missing"),
    [
        (NotFound("no exchange", spec.Exchange.Declare), True),
        (NotFound("no queue", spec.Queue.Declare), False),
        (PreconditionFailed("type", spec.Exchange.Declare), False),
        (ConnectionResetError(), False),
    ],
)
def test_only_a_missing_exchange_counts_as_a_missing_canary(error: Exception, missing: bool) -> None:
    assert is_missing_canary(error) is missing


def test_bindings_of_public_streams() -> None:
    assert public(["admin"]) == [("peatio.events.ranger", key) for key in every_public(["admin"])]
    keys = [key for _, key in public(["admin"], ["ob"])]
    assert keys[:2] == ["global.ob-snap", "global.ob-inc"]
    assert "admin.*.ob-inc" in keys
    assert exchanges_of(public([], ["ob"])) == ["peatio.events.ranger"]
