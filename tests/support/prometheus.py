"""A real Prometheus with the configuration and the rules of deploy/."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from tests.support.gateway import ROOT, GatewayProcess
from tests.support.servers import Server, free_port

RULES = ROOT / "deploy" / "prometheus-rules.yaml"
ALERTS = {rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}


class Prometheus(Server):
    """Scrapes gateways every second, and evaluates the rules without their waiting times.

    Args:
        folder: for its files; it does not exist yet.
        labels: of all series, in addition to `instance` and `job`.
    """

    def __init__(self, folder: Path, gateways: list[GatewayProcess], labels: dict[str, str] | None = None) -> None:
        self.folder, self.port = folder, free_port()
        rules = yaml.safe_load(RULES.read_text())
        for group in rules["groups"]:
            for rule in group["rules"]:
                rule.pop("for", None)
        config = yaml.safe_load((ROOT / "deploy" / "prometheus.yaml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        targets = [f"127.0.0.1:{gateway.metrics_port}" for gateway in gateways]
        config["scrape_configs"][0]["static_configs"] = [{"targets": targets, "labels": labels or {}}]
        folder.mkdir()
        for name, content in (("prometheus.yaml", config), ("prometheus-rules.yaml", rules)):
            (folder / name).write_text(json.dumps(content))
        self.start()

    def start(self) -> None:
        command = [
            "prometheus",
            f"--config.file={self.folder}/prometheus.yaml",
            f"--storage.tsdb.path={self.folder}/data",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def firing(self) -> set[tuple[str, str]]:
        """Return the alerts that fire, each with the gateway that it is about."""
        found = self._ask("alerts").get("alerts", [])
        return {(one["labels"]["alertname"], one["labels"].get("instance", "")) for one in found}

    def has(self, series: str) -> bool:
        """Return whether a series has a value."""
        return bool(self.values(series))

    def values(self, expression: str) -> list[float]:
        """Return the values of an expression now; empty without an answer. Raises AssertionError if it is invalid."""
        found = self._ask("query?" + urllib.parse.urlencode({"query": expression})).get("result", [])
        return [float(one["value"][1]) for one in found]

    def _ask(self, path: str) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}", timeout=5) as answer:
                return dict(json.loads(answer.read())["data"])
        except OSError as error:
            if isinstance(error, urllib.error.HTTPError) and error.code in (400, 422):  # the expression, not the server
                raise AssertionError(f"{path}: {error.read().decode()}") from None
            return {}
