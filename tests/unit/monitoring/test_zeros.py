"""Counters that are exported before they count."""

from __future__ import annotations

import itertools
import re
from typing import Any

import yaml
from prometheus_client.registry import REGISTRY

from peatio_ws.monitoring import metrics
from peatio_ws.monitoring.zeros import export_zeros
from tests.support.gateway import ROOT


def series(name: str) -> list[dict[str, str]]:
    return [one.labels for metric in REGISTRY.collect() for one in metric.samples if one.name == name]


def test_counters_of_alerts_are_exported() -> None:
    export_zeros()
    rules: Any = yaml.safe_load((ROOT / "deploy" / "prometheus-rules.yaml").read_text())
    text = "\n".join(rule["expr"] for group in rules["groups"] for rule in group["rules"])
    found = re.findall(r"increase\(\s*(peatio_ws_\w+_total)(?:\{([^}]*)\})?", text)
    assert len(found) > 8
    for name, matchers in found:
        if name != "peatio_ws_handler_failures_total":  # its label is known only to the application
            labels = [(label, values.split("|")) for label, values in re.findall(r'(\w+)=~?"([^"]+)"', matchers)]
            for chosen in itertools.product(*(values for _, values in labels)):
                wanted = dict(zip((label for label, _ in labels), chosen, strict=True))
                assert any(wanted.items() <= one.items() for one in series(name)), (name, wanted)


def test_counts_are_kept() -> None:
    metrics.closes.labels("gateway", "4413").inc(3)
    before = metrics.closes.labels("gateway", "4413")._value.get()
    export_zeros()
    assert metrics.closes.labels("gateway", "4413")._value.get() == before
