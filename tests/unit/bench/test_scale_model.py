"""The arithmetic of the model of `python -m bench.scale`."""

from __future__ import annotations

import dataclasses

import pytest

from bench.scale.costs import Costs, interpolated
from bench.scale.model import HISTORY_BYTES, Exchange, Need, Setup, need, times
from tests.unit.bench.scale_costs import costs

QUIET = Exchange(clients=0, members=0, private=0, public=0, followers=0, increments=0, private_bytes=0, public_bytes=0)
TWO_HOSTS = Setup(hosts=2, workers=3)


def of(setup: Setup = TWO_HOSTS, known: Costs | None = None, **fields: float) -> Need:
    """Return what a quiet exchange with these differences needs."""
    return need(known or costs(), dataclasses.replace(QUIET, **fields), setup)


def test_every_worker_reads_all_events() -> None:
    found = of(known=costs(read_private=30, read_public=20), private=100, public=200)
    assert found.worker == pytest.approx((100 * 30 + 200 * 20) / 1e6)
    assert found.host == pytest.approx(3 * found.worker)


def test_workers_share_clients_and_deliveries() -> None:
    known = costs(connection_second=4, deliver_private=40, deliver_public=7)
    found = of(known=known, clients=6000, private=60, public=12, followers=500, connected=2)
    assert found.worker == pytest.approx((1000 * 4 + 60 * 2 / 6 * 40 + 12 * 500 / 6 * 7) / 1e6)


def test_large_events_and_tls_cost_more() -> None:
    known = costs(deliver_public_tls=9, deliver_kilobyte_tls=2)
    found = of(Setup(1, 1, tls=True), known, public=10, followers=100, public_bytes=2120)
    assert found.worker == pytest.approx(10 * 100 * (9 + 2 * 2) / 1e6)


def test_one_worker_of_all_writes_orders() -> None:
    found = of(known=costs(order_write=12), private=100)
    assert found.busiest_worker == pytest.approx(100 * 12 / 1e6)
    assert found.worker == pytest.approx(found.busiest_worker / 6)


def test_increments_cost_more_than_other_public_events() -> None:
    found = of(known=costs(read_public=20, increment=5), public=100, increments=0.8)
    assert found.worker == pytest.approx(100 * (20 + 0.8 * 5) / 1e6)


def test_rabbitmq_sends_each_event_to_each_worker() -> None:
    known = costs(node_second=1000, node_worker_second=10, publish_private=200, stream=30, publish_public=100, queue=20)
    (node,) = of(known=known, private=50, public=80).nodes
    assert node == pytest.approx((1000 + 6 * 10 + 50 * (200 + 6 * 30) + 80 * (100 + 6 * 20)) / 1e6)


def test_readers_replace_workers_at_rabbitmq_only() -> None:
    known = costs(publish_private=200, stream=30, read_private=10)
    each, shared = (of(Setup(2, 3, readers=readers), known, private=50) for readers in (None, 2))
    assert shared.nodes == (pytest.approx(50 * (200 + 2 * 30) / 1e6),)
    assert shared.worker == each.worker


def test_nodes_of_a_cluster_share_the_workers() -> None:
    known = costs(cluster_node_second=1000, first_private=500, other_private=300, first_public=90, other_public=70)
    known = Costs({name: known[name] for name in known.names} | {"stream@100": 30, "queue@100": 20})
    found = of(Setup(3, 2, nodes=3), known, private=50, public=80)
    assert found.nodes[0] == pytest.approx((1000 + 50 * (500 + 30) + 80 * (90 + 20)) / 1e6)
    assert found.nodes[1] == found.nodes[2] == pytest.approx((1000 + 50 * (300 + 30) + 80 * (70 + 20)) / 1e6)


def test_other_numbers_of_nodes_are_refused() -> None:
    with pytest.raises(ValueError, match="1 or 3 nodes"):
        of(Setup(1, 1, nodes=2))


def test_without_history_a_worker_reads_the_events_of_its_members_only() -> None:
    known = costs(read_private=30, publish_public=100, queue=20, publish_private=500, stream=50)
    found = of(Setup(2, 3, history=False), known, private=60)
    assert found.worker == pytest.approx(60 / 6 * 30 / 1e6)
    assert found.nodes == (pytest.approx(60 * (100 + 20) / 1e6),)


def test_on_demand_a_worker_reads_what_its_clients_follow() -> None:
    known = costs(read_public=10)
    assert of(Setup(1, 2, on_demand=True), known, public=100, followers=1).worker == pytest.approx(50 * 10 / 1e6)
    assert of(Setup(1, 2, on_demand=True), known, public=100, followers=9999).worker == pytest.approx(100 * 10 / 1e6)
    assert of(Setup(1, 2, on_demand=True), known, public=100, increments=1).worker == pytest.approx(100 * 10 / 1e6)


def test_redis_serves_workers_and_members() -> None:
    known = costs(redis_second=100, redis_worker_second=20, redis_connection_second=3)
    assert of(known=known, members=10).redis == pytest.approx((100 + 6 * 20 + 10 * 3) / 1e6)


def test_redis_serves_orders_only_if_there_are_some() -> None:
    known = costs(redis_second=100, redis_order=5, redis_lease_second=7, redis_write_second=11)
    assert of(known=known, private=50).redis == pytest.approx((100 + 6 * 7 + 11 + 50 * 5) / 1e6)
    assert of(known=known).redis == pytest.approx(100 / 1e6)


def test_bytes_on_each_line() -> None:
    known = costs(
        publish_private_bytes=10,
        publish_public_bytes=20,
        stream_bytes=30,
        queue_bytes=40,
        private_bytes=1,
        public_bytes=2,
    )
    found = of(known=known, private=5, public=7, followers=100, private_bytes=300, public_bytes=100)
    assert found.published == pytest.approx(5 * 310 + 7 * 120)
    assert found.consumed == pytest.approx(6 * (5 * 330 + 7 * 140))
    assert found.delivered == pytest.approx(5 * 301 + 7 * 100 * 102)
    assert found.between == 0


def test_a_cluster_copies_each_event_to_the_other_nodes() -> None:
    known = costs(between_private_bytes=200, between_public_bytes=100)
    found = of(Setup(3, 1, nodes=3), known, private=5, public=7, private_bytes=300, public_bytes=100)
    assert found.between == pytest.approx(2 * (5 * 500 + 7 * 200))


def test_memory_of_a_host() -> None:
    known = costs(master_memory=50e6, worker_memory=40e6, connection_memory=8000)
    found = of(known=known, clients=2000, private=10, private_bytes=200)
    assert found.host_memory == pytest.approx(50e6 + 3 * (40e6 + 10 * 180 * 500) + 1000 * 8000)
    busy = of(known=known, private=10_000, private_bytes=200)
    assert busy.host_memory == pytest.approx(50e6 + 3 * (40e6 + HISTORY_BYTES))
    assert of(Setup(1, 1, history=False), known, private=10_000).host_memory == pytest.approx(90e6)


def test_times_changes_events_only() -> None:
    exchange = dataclasses.replace(QUIET, private=10, public=20, clients=5)
    assert times(exchange, 3) == dataclasses.replace(exchange, private=30, public=60)


def test_costs_between_measured_rates() -> None:
    curve = {100: 300.0, 400: 200.0, 1600: 50.0}
    assert [interpolated(curve, rate) for rate in (1, 100, 200, 400, 1600, 9000)] == [300, 300, 250, 200, 50, 50]


def test_costs_of_a_rate_are_those_of_all_events_that_a_process_reads() -> None:
    known = costs()
    known = Costs({name: known[name] for name in known.names} | {"read_private@100": 300, "read_private@400": 100})
    assert of(known=known, private=100).worker == pytest.approx(100 * 300 / 1e6)
    assert of(known=known, private=100, public=300).worker == pytest.approx(100 * 100 / 1e6)


def test_an_unknown_cost_is_an_error() -> None:
    with pytest.raises(KeyError):
        costs().at("read_nothing", 1)
