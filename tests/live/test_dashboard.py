"""The dashboard for Grafana: its form, and each of its queries in a real Prometheus that scrapes a real gateway."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.support import documents
from tests.support.gateway import ROOT, GatewayProcess, Publisher, Signer, receive
from tests.support.prometheus import ALERTS, Prometheus
from tests.support.servers import wait_until

DASHBOARD = json.loads((ROOT / "deploy" / "grafana.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ANNOTATIONS = [one for one in DASHBOARD["annotations"]["list"] if not one.get("builtIn")]
VARIABLES = {"$instance": ".*", "$__rate_interval": "1m"}
"""What Grafana puts in for variables, with all gateways."""
WITHOUT_DATA = {
    "peatio_ws_handler_failures_total": "the gateway has no handler",
    "peatio_ws_certificate_expiry_timestamp_seconds": "the gateway does not terminate TLS",
}
"""Metrics that the gateway of this test does not have, and why."""
LABELS = {"namespace": "exchange", "pod": "ws-1"}


def queries() -> Iterator[str]:
    """Yield the expressions of all panels, as Grafana sends them."""
    for panel in PANELS:
        for target in panel["targets"]:
            expression = str(target["expr"])
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            yield expression


def test_panels_have_all_that_an_operator_needs() -> None:
    for panel in PANELS:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][0]["value"] is None
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references) > 0
        for one in (panel, *panel["targets"]):
            assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert {one["name"] for one in ANNOTATIONS} == {"Alerts", "Versions"}, "shown in all panels"
    defined = {one["name"] for one in DASHBOARD["templating"]["list"]} | {"__rate_interval"}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD))) == defined | {"__all"}


def test_panels_do_not_overlap() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken = set[tuple[int, int]]()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = set(
            itertools.product(
                range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
            )
        )  # fmt: skip
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_alerts_that_panels_name_exist_and_have_a_threshold() -> None:
    named = 0
    for panel in PANELS:
        for alert in re.findall(r"PeatioWs\w+", panel["description"]):
            named += 1
            assert alert in ALERTS
            steps = [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1:]]
            limits = re.findall(r"[<>] ([\d.]+(?:e\d)?)", ALERTS[alert]["expr"])
            assert set(steps) & set(map(float, limits)) or alert == "PeatioWsCertificateExpires", alert
    assert named > 5


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory, gateway: GatewayProcess) -> Iterator[Prometheus]:
    server = Prometheus(tmp_path_factory.mktemp("dashboard") / "prometheus", [gateway], LABELS)
    yield server
    server.stop()


def test_every_query_has_data(
    prometheus: Prometheus, gateway: GatewayProcess, signer: Signer, publisher: Publisher
) -> None:
    with gateway.member(signer.token("IDANN")) as client:
        publisher.event("public.btcusd.ob-snap", {"asks": [["15.0", "1"]], "bids": [], "sequence": 1})
        publisher.order("IDANN", 1)
        assert "orderbook" in receive(client)

        def without_data() -> list[str]:
            return [query for query in queries() if not prometheus.values(query)]

        def expected(query: str) -> bool:
            return any(name in query for name in WITHOUT_DATA)

        wait_until(lambda: all(map(expected, without_data())), "Prometheus has scraped all metrics twice")
        assert set(without_data()) == set(filter(expected, queries())), "a metric has data now: test it here"
    for annotation in ANNOTATIONS:
        prometheus.values(annotation["expr"].replace("$instance", ".*"))  # empty unless something has happened


def test_autoscaler_gets_the_connections_of_a_pod(prometheus: Prometheus, gateway: GatewayProcess) -> None:
    """The rule for Prometheus Adapter in docs/kubernetes.md, filled in as the adapter does."""
    (text,) = [block.text for block in documents.blocks(ROOT / "docs" / "kubernetes.md") if "seriesQuery" in block.text]
    (rule,) = yaml.safe_load(text)["rules"]["custom"]
    assert rule["resources"]["overrides"].keys() == LABELS.keys()
    query = rule["metricsQuery"]
    for name, value in {
        "Series": "peatio_ws_connections",
        "LabelMatchers": 'namespace="exchange",pod=~"ws-1|ws-2"',
        "GroupBy": "pod",
    }.items():
        query = query.replace(f"<<.{name}>>", value)
    with gateway.connect(), gateway.connect("public?stream=btcusd.trades"):
        wait_until(lambda: prometheus.values(query) == [2], "two connections of one pod")
    assert prometheus.has(rule["seriesQuery"])
