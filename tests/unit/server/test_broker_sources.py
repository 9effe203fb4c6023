"""Which sources a worker reads, by its settings, and which keys are bound for its clients."""

from __future__ import annotations

from typing import Any

import gevent
import pytest

from peatio_ws.amqp.history_stream.source import StreamSource
from peatio_ws.amqp.on_demand_bindings import LINGER_SECONDS, OnDemandBindings
from peatio_ws.amqp.queue_source import QueueSource
from peatio_ws.amqp.topology import CLASSIC, PRIVATE
from peatio_ws.server import broker_sources
from peatio_ws.server.broker_sources import KEPT_SECONDS, ClientInterest, private_sources, public_source
from tests.unit.samples import Bindings, settings

RABBITMQ = {"AMQP_URL": "amqp://localhost"}


def interest(**environ: str) -> ClientInterest:
    return ClientInterest(settings(**{**RABBITMQ, **environ}))


def sources(**environ: str) -> tuple[Any, Any]:
    chosen = settings(**{**RABBITMQ, **environ})
    return private_sources(chosen, ClientInterest(chosen), lambda _: None, lambda: None, dict)


def keys(on_demand: OnDemandBindings | None) -> set[str]:
    assert on_demand is not None
    return on_demand.keys


# ---- sources


@pytest.mark.parametrize(
    ("environ", "kind", "other"),
    [
        ({}, StreamSource, QueueSource),
        ({"AMQP_HISTORY": "worker"}, QueueSource, None),
        ({"AMQP_HISTORY": "off"}, QueueSource, None),
        ({"AMQP_URL": "memory://"}, QueueSource, None),
    ],
)
def test_only_the_history_stream_has_a_replacement(
    environ: dict[str, str], kind: type[Any], other: type[Any] | None
) -> None:
    preferred, replacement = sources(**environ)
    assert isinstance(preferred, kind)
    assert preferred.name == "private"
    assert replacement is None if other is None else isinstance(replacement, other)


@pytest.mark.parametrize(
    ("environ", "bindings"),
    [({"AMQP_HISTORY": "worker"}, PRIVATE), ({"AMQP_HISTORY": "off"}, CLASSIC)],
)
def test_members_are_bound_one_by_one_only_without_history(environ: dict[str, str], bindings: Any) -> None:
    queue, _ = sources(**environ)
    assert queue._bindings == bindings
    assert (queue._on_demand is None) is (bindings is PRIVATE)


def test_books_are_always_bound_and_other_streams_on_demand() -> None:
    def bound(**environ: str) -> set[str]:
        chosen = settings(**RABBITMQ, **environ)
        source: Any = public_source(chosen, ClientInterest(chosen), lambda _: None)
        return {key for _, key in source._bindings}

    assert {"public.#", "global.#"} <= bound(WEBSOCKET_BOOKS="")
    assert {"public.*.ob-inc", "public.*.ob-snap", "global.ob-inc"} <= bound(WEBSOCKET_BOOKS="ob")
    assert "public.#" not in bound(WEBSOCKET_BOOKS="ob")


# ---- bindings for clients


def test_a_stream_is_needed_until_its_last_client_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(broker_sources.time, "monotonic", lambda: now[0])
    monkeypatch.setattr("peatio_ws.amqp.on_demand_bindings.time.monotonic", lambda: now[0])
    needed = interest(WEBSOCKET_BOOKS="ob")
    for _ in range(2):
        needed.acquire_streams(["btcusd.trades"])
    needed.release_stream("btcusd.trades")
    now[0] += LINGER_SECONDS + 1
    needed.sweep()
    assert keys(needed.streams) == {"public.btcusd.trades"}
    needed.release_stream("btcusd.trades")
    now[0] += LINGER_SECONDS + 1
    needed.sweep()
    assert keys(needed.streams) == set()


def test_stream_of_trades_is_kept_for_a_while_and_reported_when_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now, lost = [100.0], list[str]()
    monkeypatch.setattr(broker_sources.time, "monotonic", lambda: now[0])
    monkeypatch.setattr("peatio_ws.amqp.on_demand_bindings.time.monotonic", lambda: now[0])
    needed = ClientInterest(settings(**RABBITMQ, WEBSOCKET_BOOKS="ob"), lost.append)
    for _ in range(2):
        needed.acquire_streams(["btcusd.trades"])
        needed.keep_stream("btcusd.trades")
        needed.release_stream("btcusd.trades")
        now[0] += KEPT_SECONDS - 1
        needed.sweep()
    now[0] += 2
    needed.sweep()
    assert (keys(needed.streams), lost) == ({"public.btcusd.trades"}, [])
    now[0] += LINGER_SECONDS + 1
    needed.sweep()
    assert (keys(needed.streams), lost) == (set(), ["btcusd.trades"])


def test_stream_that_two_clients_leave_while_the_broker_is_slow_is_kept_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(broker_sources.time, "monotonic", lambda: now[0])
    monkeypatch.setattr("peatio_ws.amqp.on_demand_bindings.time.monotonic", lambda: now[0])
    needed, channel = interest(WEBSOCKET_BOOKS="ob"), Bindings()
    assert needed.streams is not None
    needed.streams.attach(channel, "q", lambda: None)
    leaving = [gevent.spawn(needed.keep_stream, "btcusd.trades") for _ in range(2)]
    gevent.idle()
    with gevent.Timeout(20):
        while not all(one.ready() for one in leaving):
            channel.answer()
            gevent.idle()
    now[0] += KEPT_SECONDS + 1
    needed.sweep()
    now[0] += LINGER_SECONDS + 1
    needed.sweep()
    assert keys(needed.streams) == set()


@pytest.mark.parametrize(
    ("stream", "routing_keys"),
    [
        ("btcusd.trades", {"public.btcusd.trades"}),
        ("global.tickers", {"public.global.tickers", "global.tickers"}),
        ("admin.btcusd.sys", {"admin.btcusd.sys"}),
        ("btcusd.depth-inc", {"public.btcusd.depth-inc", "public.btcusd.depth-snap"}),
        ("btcusd.ob-inc", set()),
        ("order", set()),
    ],
)
def test_a_stream_is_bound_by_its_routing_keys(stream: str, routing_keys: set[str]) -> None:
    needed = interest(WEBSOCKET_BOOKS="ob")
    needed.acquire_streams([stream])
    assert keys(needed.streams) == routing_keys


def test_a_member_is_bound_by_its_uid_without_history() -> None:
    needed = interest(AMQP_HISTORY="off")
    needed.acquire_member("ANN")
    assert keys(needed.members) == {"private.ANN.#"}
    needed.release_member("ANN")
    assert keys(needed.members) == {"private.ANN.#"}, "members often reconnect"


@pytest.mark.parametrize("environ", [{}, {"AMQP_URL": "memory://", "AMQP_HISTORY": "off", "WEBSOCKET_BOOKS": "ob"}])
def test_clients_of_a_worker_that_reads_everything_bind_nothing(environ: dict[str, str]) -> None:
    needed = interest(**{"WEBSOCKET_BOOKS": "", **environ})
    assert (needed.members, needed.streams) == (None, None)
    with gevent.Timeout(20):
        for act in (
            needed.acquire_streams,
            needed.keep_stream,
            needed.release_stream,
            needed.acquire_member,
            needed.release_member,
        ):
            act("ANN")
        needed.sweep()
