"""Counters that are exported before they count."""

from __future__ import annotations

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
    found = re.findall(r'increase\(\s*(peatio_ws_\w+_total)(?:\{(\w+)=(~?)"([^"]+)"\})?', text)
    assert len(found) > 8
    for name, label, _, values in found:
        if name != "peatio_ws_handler_failures_total":  # its label is known only to the application
            for value in values.split("|") if label else [None]:
                assert [one for one in series(name) if value in (None, one.get(label))], (name, value)


def test_counts_are_kept() -> None:
    metrics.closes.labels("4413").inc(3)
    before = metrics.closes.labels("4413")._value.get()
    export_zeros()
    assert metrics.closes.labels("4413")._value.get() == before
