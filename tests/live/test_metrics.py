"""Metrics of a real gateway: books, slow clients, event latency and event loop delay."""

from __future__ import annotations

import contextlib
import time

from prometheus_client.parser import text_string_to_metric_families

from peatio_ws.version import VERSION
from tests.support.gateway import GatewayProcess, Publisher, receive
from tests.support.raw_client import RawClient
from tests.support.servers import wait_until


def test_book_metrics_report_age_and_state(gateway: GatewayProcess, publisher: Publisher) -> None:
    updated = 'peatio_ws_book_updated_timestamp_seconds{book="aged.ob"}'
    with gateway.connect("public?stream=nobody-publishes.ob-inc") as client:
        assert "success" in receive(client)
        publisher.event("public.aged.ob-snap", {"asks": [["1", "2"]], "bids": [], "sequence": 1})
        wait_until(lambda: abs(time.time() - gateway.metric(updated)) < 30, "the book's age is exported")
        wait_until(lambda: gateway.metric('peatio_ws_books{state="current"}') == 1, "the book is valid")
        publisher.event("public.aged.ob-inc", {"asks": ["1", "3"], "sequence": 3})
        wait_until(lambda: gateway.metric('peatio_ws_books{state="broken"}') == 1, "the book is no longer valid")
        wait_until(lambda: gateway.metric("peatio_ws_book_holes_total") == 1, "the gap is counted")
        # A stream name that only a client uses does not become a label.
        assert gateway.total("peatio_ws_book_updated_timestamp_seconds") == gateway.metric(updated)
        wait_until(lambda: gateway.metric('peatio_ws_subscriptions{type="public"}') == 1, "subscribed")
    assert "nobody-publishes" not in gateway.operators("/metrics")[1]


def test_outbox_bytes_of_slow_clients_are_reported(gateway: GatewayProcess, publisher: Publisher) -> None:
    with RawClient(gateway.port, receive_buffer=4096) as client:
        client.upgrade("/public?stream=slow.trades")
        client.json()
        published = 0
        while gateway.metric("peatio_ws_slow_clients") == 0:  # how much the kernels buffer varies
            assert published < 100
            for _ in range(5):
                published += 1
                publisher.event("public.slow.trades", {"much": "x" * 16_000})
            with contextlib.suppress(TimeoutError):
                wait_until(lambda: gateway.metric("peatio_ws_slow_clients") == 1, "the client is slow", 3)
        for _ in range(10):
            publisher.event("public.slow.trades", {"much": "x" * 16_000})
        wait_until(lambda: gateway.metric("peatio_ws_outbox_bytes") > 10 * 16_000, "all waiting bytes are exported")
        assert gateway.metric("peatio_ws_outbox_bytes") < (published + 10) * 16_100
    wait_until(lambda: gateway.metric("peatio_ws_outbox_bytes") == 0, "no bytes are waiting any more")


def test_event_latency_and_loop_delay_are_measured(gateway: GatewayProcess, publisher: Publisher) -> None:
    took = 'peatio_ws_event_seconds_count{source="public"}'
    earlier = gateway.metric('peatio_ws_event_seconds_sum{source="public"}')
    before, began = gateway.metric(took), time.monotonic()
    with gateway.connect("public?stream=timed.trades") as client:
        assert "success" in receive(client)
        for number in range(5):
            publisher.event("public.timed.trades", {"tid": number})
            assert receive(client) == {"timed.trades": {"tid": number}}
        publisher.event("public.timed.nobody", {"tid": 5})
    wait_until(lambda: gateway.metric(took) == before + 5, "each event was a separate batch")
    spent = gateway.metric('peatio_ws_event_seconds_sum{source="public"}') - earlier
    assert 0 < spent < time.monotonic() - began
    wait_until(lambda: gateway.metric("peatio_ws_loop_delay_seconds_count") > 5, "the loop's delay is measured")
    wait_until(lambda: gateway.metric("peatio_ws_history_lag_seconds") < 10, "the worker reads without falling behind")
    assert gateway.metric("peatio_ws_worker_memory_bytes") > 20_000_000
    assert gateway.metric("peatio_ws_worker_cpu_seconds_total") > 0.05


def test_prometheus_can_parse_the_metrics(gateway: GatewayProcess) -> None:
    families = {one.name: one for one in text_string_to_metric_families(gateway.operators("/metrics")[1])}
    (build,) = families["peatio_ws_build_info"].samples
    assert (build.labels["version"], build.value) == (VERSION, 1.0)
    for name in ("peatio_ws_connections", "peatio_ws_event_seconds", "rango_hub_clients_count", "ranger_connections"):
        assert families[name].documentation
