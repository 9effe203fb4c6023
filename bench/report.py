"""Writes the results: medians as a Markdown table, all runs as JSON, and a chart."""

from __future__ import annotations

import json
import platform
import statistics
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from bench.figures import Scenario, Value
from bench.picture import draw

UNITS = {
    "cpu": "µs CPU",
    "p50": "p50 µs",
    "p99": "p99 µs",
    "memory": "KB",
    "rate": "per second",
}


def figure_names(scenario: Scenario) -> Iterable[str]:
    """Return the names of a scenario's figures, in the order of measurement."""
    return [*([scenario.connect] if scenario.connect else []), *(load.figure for load in scenario.loads)]


class Results:
    """All values, by figure, unit and contestant.

    Attributes:
        labels: the contestants' labels by name.
    """

    def __init__(self) -> None:
        self.labels: dict[str, str] = {}
        self._values: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    @classmethod
    def read(cls, folder: Path) -> Results:
        """Return the results that `write` wrote. Raises SystemExit if they are from another machine."""
        results, raw = cls(), json.loads((folder / "results.json").read_text())
        if raw["machine"] != _machine():
            raise SystemExit(
                f"the results in {folder} are from another machine ({raw['machine']}); "
                "omit --add, or name another folder with --into"
            )
        results.labels = raw["contestants"]
        for figure in raw["figures"]:
            for contestant, values in figure["runs"].items():
                results._values[figure["figure"], figure["unit"]][contestant] = values
        return results

    def add(self, contestant: str, values: list[Value]) -> None:
        """Add the values of a run."""
        for value in values:
            self._values[value.figure, value.unit][contestant].append(round(value.value, 3))

    def medians(self) -> dict[tuple[str, str], dict[str, float]]:
        """Return the medians by figure and unit, then by contestant."""
        return {
            key: {name: statistics.median(values) for name, values in by_name.items()}
            for key, by_name in self._values.items()
        }

    def table(self) -> str:
        """Return the medians as Markdown: a row per figure and unit, a column per contestant.

        Figures over TLS have a separate table, which comes first.
        """
        medians = {key: by_name for key, by_name in self.medians().items() if key[1] in UNITS}
        tls = {key: by_name for key, by_name in medians.items() if key[0].startswith("wss-")}
        plain = {key: by_name for key, by_name in medians.items() if key not in tls}
        return "\n".join(self._table(group) for group in (tls, plain) if group)

    def _table(self, medians: dict[tuple[str, str], dict[str, float]]) -> str:
        names = [name for name in self.labels if any(name in by_name for by_name in medians.values())]
        lines = [
            f"| figure | | {' | '.join(self.labels[name] for name in names)} |",
            f"| --- | --- |{' ---: |' * len(names)}",
        ]
        for (figure, unit), by_name in medians.items():
            cells = [_number(by_name[name]) if name in by_name else "–" for name in names]  # noqa: RUF001
            lines.append(f"| {figure} | {UNITS[unit]} | {' | '.join(cells)} |")
        return "\n".join(lines) + "\n"

    def others(self) -> str:
        """Return a sentence about the CPU that other programs used during the runs."""
        shares = [
            share
            for (_, unit), by_name in self._values.items()
            if unit == "others"
            for values in by_name.values()
            for share in values
        ]
        return f"Other programs used {statistics.mean(shares):.0%} of the CPU, at most {max(shares):.0%} in a run."

    def write(self, folder: Path) -> None:
        """Write results.md, results.json and results.svg."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.md").write_text(f"{_HEAD}\n{self.table()}\n{_machine()}. {self.others()}\n")
        (folder / "results.json").write_text(json.dumps(self._raw(), indent=1, ensure_ascii=False) + "\n")
        (folder / "results.svg").write_text(draw(self.medians(), self.labels))

    def _raw(self) -> dict[str, object]:
        figures = [
            {"figure": figure, "unit": unit, "median": self.medians()[figure, unit], "runs": by_name}
            for (figure, unit), by_name in self._values.items()
        ]
        return {"machine": _machine(), "contestants": self.labels, "figures": figures}


_HEAD = """# Results of `make bench`

Medians of runs in which the servers took turns. µs CPU: CPU time of the server's processes, and of nginx if it is in
front, per event (private), delivery (fan-out) or connection (connect). KB: memory per authenticated connection after
4 s without traffic. p50, p99: latency from publication to the client, with publisher, broker, server and clients on the
same cores. Compare only columns of one run, not figures of different machines or runs.
"""


def _machine() -> str:
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
    count = Path("/proc/cpuinfo").read_text().count("processor\t")
    return f"{count} × {model or platform.machine()}, Linux {platform.release()}, Python {platform.python_version()}"  # noqa: RUF001


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
