"""Operations on a dedicated channel, and the canaries that show whether bindings still exist."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from amqp import spec
from amqp.exceptions import AccessRefused, NotFound, PreconditionFailed

from peatio_ws.amqp.topology import Canaries, attempt, every_public, exchanges_of, is_missing_canary, public


class Broker:
    """Exchanges, and a channel for each question.

    Attributes:
        exchanges: those there are, with what their canaries are bound to.
        said: what it was asked.
        refuses: exchanges to which it allows no binding.
    """

    def __init__(self) -> None:
        self.exchanges: dict[str, tuple[bool, str | None]] = {}
        self.said: list[tuple[Any, ...]] = []
        self.refuses: set[str] = set()
        self.closed = 0
        self.transport = SimpleNamespace(driver_type="amqp")
        self.default_channel = self

    def channel(self) -> Broker:
        return self

    def close(self) -> None:
        self.closed += 1

    def exchange_declare(self, name: str, _kind: str, passive: bool = False, durable: bool = False, **how: Any) -> None:
        self.said.append(("look" if passive else "declare", name))
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
        self.said.append(("delete", name))
        self.exchanges.pop(name, None)


@pytest.fixture
def broker() -> Any:
    return Broker()


@pytest.mark.parametrize(("error", "closed"), [(None, 1), (NotFound(), 1), (TimeoutError(), 0)])
def test_channel_is_closed_unless_the_broker_is_silent(broker: Any, error: Exception | None, closed: int) -> None:
    """Closing waits for an answer, and the time limit of who called is over."""

    def action(_channel: Any) -> None:
        if error is not None:
            raise error

    if error is None:
        attempt(broker, action)
    else:
        with pytest.raises(type(error)):
            attempt(broker, action)
    assert broker.closed == closed


def test_canaries_are_bound_and_watched(broker: Any) -> None:
    canaries = Canaries("q.bound", durable=True)
    assert not canaries.exist(broker, ["a", "b"])
    canaries.declare(broker, [("a", True), ("b", False)])
    assert broker.exchanges == {"q.bound.a": (True, "a"), "q.bound.b": (False, "b")}
    assert canaries.exist(broker, ["a", "b"])
    broker.said.clear()
    canaries.check_bindings()
    assert broker.said == [("look", "q.bound.a"), ("look", "q.bound.b")]
    canaries.forget()
    canaries.check_bindings()
    assert len(broker.said) == 2, "without a connection there is nothing to ask"
    canaries.remove(broker, ["a", "b"])
    assert not broker.exchanges


def test_canary_that_may_not_be_bound_is_not_watched(broker: Any) -> None:
    broker.refuses = {"a"}
    canaries = Canaries("w", ".7")
    canaries.declare(broker, [("a", False), ("b", False)])
    broker.said.clear()
    canaries.check_bindings()
    assert broker.said == [("look", "w.b.7")]
    assert canaries.exist(broker, ["a"]), "it tells at least whether the broker restarted"


def test_canary_of_an_exchange_that_was_durable_before_is_replaced(broker: Any) -> None:
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
def test_only_a_missing_exchange_is_a_missing_canary(error: Exception, missing: bool) -> None:
    assert is_missing_canary(error) is missing


def test_bindings_of_public_streams() -> None:
    assert public(["admin"]) == [("peatio.events.ranger", key) for key in every_public(["admin"])]
    keys = [key for _, key in public(["admin"], ["ob"])]
    assert keys[:2] == ["global.ob-snap", "global.ob-inc"]
    assert "admin.*.ob-inc" in keys
    assert exchanges_of(public([], ["ob"])) == ["peatio.events.ranger"]
