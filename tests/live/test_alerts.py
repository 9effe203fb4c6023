"""The alert rules in deploy/: each fires and stays silent as it should, in promtool and in a real Prometheus."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from websockets.exceptions import ConnectionClosed

from tests.support.gateway import ROOT, GatewayProcess, Signer, receive
from tests.support.prometheus import ALERTS, RULES, Prometheus
from tests.support.servers import free_port, wait_until


class Case(NamedTuple):
    """Series with which an alert fires at a time, and with which it does not. Rules are evaluated once a minute.

    Attributes:
        firing, silent: promtool's notation of the values by series; `{}` stands for the labels of a gateway.
        at: minutes.
        interval: seconds between two values.
    """

    firing: dict[str, str]
    silent: dict[str, str]
    at: int = 10
    interval: int = 60


def histogram(name: str, slow: bool) -> dict[str, str]:
    """Return a histogram of which 98 or 99.5 percent are fast."""
    fast = "0+98x20" if slow else "0+199x20"
    total = "0+100x20" if slow else "0+200x20"
    return {f'{name}_bucket{{le="0.1",{{}}}}': fast, f'{name}_bucket{{le="1.0",{{}}}}': total,
            f'{name}_bucket{{le="+Inf",{{}}}}': total}  # fmt: skip


def counter(name: str, labels: str = "", more: str = "") -> Case:
    """Return a case of a counter that increases once, and of the same counter that does not."""
    series = f"{name}{{{labels}{{}}}}"
    return Case({series: "0 0 0 0 0 0 1x10"}, {series: "1x20", **({f"{name}{{{more}{{}}}}": "0+5x20"} if more else {})})


def steady(name: str, labels: str, high: str, low: str) -> Case:
    series = f"{name}{{{labels}{{}}}}"
    return Case({series: high}, {series: low})


WORKERS = "peatio_ws_configured_workers{{}}"
CASES = {
    "PeatioWsDown": Case({"up{{}}": "1 1 0x20"}, {"up{{}}": "1 1 0 1x20"}, 4),
    "PeatioWsBrokerNotConnected": Case(
        {"peatio_ws_broker_connected{{}}": "2 2 1x20", WORKERS: "2x20"},
        {"peatio_ws_broker_connected{{}}": "2 2 1 2x20", WORKERS: "2x20"},
    ),
    "PeatioWsWorkerStuck": Case(  # scraped up to 55 s before the evaluation
        {'peatio_ws_worker_turned_timestamp_seconds{pid="7",{}}': "0+55x5 275x20"},
        {'peatio_ws_worker_turned_timestamp_seconds{pid="7",{}}': "0+55x20"},
        interval=55,
    ),
    "PeatioWsBrokerBehind": steady("peatio_ws_broker_behind_seconds", 'source="private",', "0 6x20", "0 6 0x20"),
    "PeatioWsHistoryLag": steady("peatio_ws_history_lag_seconds", "", "0 6x20", "5x20"),
    "PeatioWsClientsRefused": steady(
        "peatio_ws_closes_total", 'by="gateway",code="1013",', "0+1x20", "0 0 0 0 0 0 0 0 0 1x20"
    ),
    "PeatioWsConnectionsFell": Case(
        {'peatio_ws_connections{state="member",{}}': "1000x9 400x20"},
        {
            'peatio_ws_connections{state="member",{}}': "1000x9 600x20",
            'peatio_ws_connections{state="new",{}}': "90x9 0x9",
        },
    ),
    "PeatioWsNearlyFull": Case(
        {'peatio_ws_connections{state="member",{}}': "810x20", "peatio_ws_max_connections{{}}": "1000x20"},
        {'peatio_ws_connections{state="member",{}}': "790x20", "peatio_ws_max_connections{{}}": "1000x20"},
    ),
    "PeatioWsRedisNotConnected": Case(
        # Down since the start, or for so long that no older value counts.
        {"peatio_ws_redis_connected{{}}": "0x20", "peatio_ws_redis_configured_workers{{}}": "2x20"},
        {"peatio_ws_redis_connected{{}}": "0x20", "peatio_ws_redis_configured_workers{{}}": "0x20"},
    ),
    "PeatioWsBrokerConnectionsLost": Case(
        {'peatio_ws_broker_losses_total{source="public",{}}': "0+2x20", WORKERS: "2x20"},
        # RabbitMQ was restarted twice: each time, every worker lost both of its connections.
        {'peatio_ws_broker_losses_total{source="public",{}}': "0 0 0 0 8 8 8 16x20",
         'peatio_ws_broker_losses_total{source="private",{}}': "0 0 0 0 8 8 8 16x20", WORKERS: "8x20"},
    ),
    "PeatioWsDeliveriesFailed": counter(
        "peatio_ws_deliveries_total", 'outcome="failed",', 'outcome="routed",'
    ),
    "PeatioWsInternalErrors": counter(
        "peatio_ws_closes_total", 'by="gateway",code="1011",', 'by="client",code="1011",'
    ),
    "PeatioWsHandlerFailures": Case(
        {'peatio_ws_handler_failures_total{handler="/room",{}}': "_ _ _ _ _ _ 1x10"},
        {'peatio_ws_handler_failures_total{handler="/room",{}}': "1x20"},
        14,
    ),
    "PeatioWsInvalidMessages": counter(
        "peatio_ws_deliveries_total", 'outcome="json",', 'outcome="no_owner",'
    ),
    "PeatioWsBookHoles": counter("peatio_ws_book_holes_total"),
    "PeatioWsBooksBroken": steady("peatio_ws_books", 'state="broken",', "0 1x20", "0 1 1 0x20"),
    "PeatioWsEventsSlow": Case(
        histogram("peatio_ws_event_seconds", True), histogram("peatio_ws_event_seconds", False)
    ),
    "PeatioWsEventLoopSlow": Case(
        histogram("peatio_ws_loop_delay_seconds", True), histogram("peatio_ws_loop_delay_seconds", False)
    ),
    "PeatioWsCpu": Case(
        {"peatio_ws_worker_cpu_seconds_total{{}}": "0+100x30", WORKERS: "2x30"},
        {"peatio_ws_worker_cpu_seconds_total{{}}": "0+90x30", WORKERS: "2x30"},
        20,
    ),
    "PeatioWsSlowClients": steady("peatio_ws_outbox_bytes", "", "2e8x20", "1e7x20"),
    "PeatioWsLogLinesDropped": counter("peatio_ws_log_lines_dropped_total"),
    "PeatioWsTokensRefused": steady(
        "peatio_ws_authentications_total", 'outcome="refused",', "0+700x20", "0+500x20"
    ),
    "PeatioWsAddressesLockedOut": steady(
        "peatio_ws_authentications_total", 'outcome="limited",', "0+70x20", "0+50x20"
    ),
    "PeatioWsReplaysIncomplete": steady("peatio_ws_replays_total", 'outcome="cut",', "0+70x20", "0+50x20"),
    "PeatioWsCertificateExpires": steady(
        "peatio_ws_certificate_expiry_timestamp_seconds", "", "604000x20", "700000x20"
    ),
    "PeatioWsOperatorTokensRefused": counter(
        "peatio_ws_limits_reached_total", 'limit="failed_admin_tokens",', 'limit="messages",'
    ),
}  # fmt: skip
OWN = 'instance="gateway-1:4242",job="peatio_ws"'
OF_SLOWNESS = {"PeatioWsEventLoopSlow", "PeatioWsEventsSlow", "PeatioWsCpu"}
"""Alerts that a busy machine may raise for any gateway."""


def as_series(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"series": name.replace("{}", OWN), "values": given} for name, given in values.items()]


def fires(alert: str, case: Case, expected: bool) -> dict[str, Any]:
    """Return a test for promtool. The labels of an alert that fires are compared by a query."""
    active = f'ALERTS{{alertname="{alert}",alertstate="firing"}}'
    samples = [{"labels": "{}", "value": 1}] if expected else []
    return {
        "name": f"{alert} {'fires' if expected else 'is silent'}",
        "interval": f"{case.interval}s",
        "input_series": as_series(case.firing if expected else case.silent),
        "promql_expr_test": [{"expr": f"count({active})", "eval_time": f"{case.at}m", "exp_samples": samples}],
    }


def test_every_alert_has_a_case() -> None:
    assert set(CASES) == set(ALERTS)


def test_rules_and_configuration_are_valid() -> None:
    for command in (["rules", RULES], ["config", ROOT / "deploy" / "prometheus.yaml"]):
        done = subprocess.run(["promtool", "check", *command], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "SUCCESS" in done.stdout


def test_collector_scrapes_as_prometheus_does() -> None:
    """The receiver takes the scrape configuration of Prometheus, which a test below runs."""
    prometheus, collector = (
        yaml.safe_load((ROOT / "deploy" / name).read_text()) for name in ("prometheus.yaml", "otel-collector.yaml")
    )
    assert collector["receivers"]["prometheus"]["config"]["scrape_configs"] == prometheus["scrape_configs"]
    for pipeline in collector["service"]["pipelines"].values():
        assert set(pipeline["receivers"]) <= set(collector["receivers"])
        assert set(pipeline["exporters"]) <= set(collector["exporters"])


def test_each_alert_fires_and_is_silent(tmp_path: Path) -> None:
    tests = [fires(alert, case, expected) for alert, case in CASES.items() for expected in (True, False)]
    (tmp_path / "tests.yaml").write_text(
        json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests})
    )
    done = subprocess.run(
        ["promtool", "test", "rules", tmp_path / "tests.yaml"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_are_documented_with_their_urgency() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    documented = dict(re.findall(r"^\| `(PeatioWs\w+)` \| (now|day) \|", page, re.MULTILINE))
    assert documented == {alert: rule["labels"]["urgency"] for alert, rule in ALERTS.items()}


# ---- a real Prometheus


@pytest.fixture
def flooded(start: Any) -> GatewayProcess:
    gateway: GatewayProcess = start(WEBSOCKET_MAX_CONNECTIONS_PER_MEMBER="1")
    return gateway


@pytest.fixture
def deaf(folder: Path, signer: Signer) -> Iterator[GatewayProcess]:
    """A gateway whose broker is down."""
    environ = {"AMQP_URL": f"amqp://127.0.0.1:{free_port()}/", **signer.environ}
    gateway = GatewayProcess(folder, environ, wait=False)
    yield gateway
    gateway.stop()


def test_prometheus_raises_alerts_about_broken_gateways(
    tmp_path: Path, flooded: GatewayProcess, deaf: GatewayProcess, signer: Signer
) -> None:
    prometheus = Prometheus(tmp_path / "prometheus", [flooded, deaf])
    broken, full = f"127.0.0.1:{deaf.metrics_port}", f"127.0.0.1:{flooded.metrics_port}"
    try:
        wait_until(lambda: ("PeatioWsBrokerNotConnected", broken) in prometheus.firing(), "the broker's alert fires")
        assert not {alert for alert, at in prometheus.firing() if at == full} - OF_SLOWNESS, "a healthy gateway"
        # The rate of a counter begins with its second value.
        refused = f'peatio_ws_closes_total{{by="gateway",code="1013",instance="{full}"}}'
        wait_until(lambda: prometheus.has(refused), "Prometheus knows how many were refused before")
        token = signer.token("IDANN")
        with flooded.member(token):
            for _ in range(3):
                with flooded.connect() as client, contextlib.suppress(ConnectionClosed):
                    receive(client)
                    client.send(json.dumps({"jwt": f"Bearer {token}"}))
                    receive(client)
            wait_until(lambda: ("PeatioWsClientsRefused", full) in prometheus.firing(), "the flood's alert fires")
        deaf.kill()
        wait_until(lambda: ("PeatioWsDown", broken) in prometheus.firing(), "the gateway's end is noticed")
    finally:
        prometheus.stop()
