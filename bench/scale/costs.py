"""The costs that `bench.scale.measure` measures and the model uses. Each is the median of its runs."""

from __future__ import annotations

import itertools
import json
import math
import platform
import resource
import statistics
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

RATES: Final = (100, 400, 1600)
"""Events a second. Costs that fall with the rate are measured at each of these rates."""
RESULTS: Final = Path(__file__).parent.parent / "results" / "scale"


@dataclass
class Runs:
    """All measured values, by name of the cost.

    Attributes:
        machine: the machine of the measurements.
    """

    machine: str
    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def empty(cls) -> Self:
        """Return no runs, for this machine."""
        return cls(machine())

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the runs that `write` stored. Raise SystemExit if they were measured on another machine."""
        raw = json.loads((folder / "costs.json").read_text())
        if raw["machine"] != machine():
            raise SystemExit(f"the costs in {folder} were measured on another machine: {raw['machine']}; omit --add")
        runs = cls(raw["machine"])
        runs.values |= raw["runs"]
        return runs

    def add(self, found: dict[str, float]) -> None:
        """Add the values of a run."""
        for name, value in found.items():
            self.values[name].append(round(value, 3))

    def write(self, folder: Path) -> None:
        """Write the medians and all values to costs.json."""
        folder.mkdir(parents=True, exist_ok=True)
        costs = {name: round(statistics.median(values), 3) for name, values in self.values.items()}
        raw = {"machine": self.machine, "costs": costs, "runs": self.values}
        (folder / "costs.json").write_text(json.dumps(raw, indent=1) + "\n")


class Costs:
    """The costs by name.

    Args:
        values: µs of CPU, or bytes. A cost that depends on the rate has a value `name@rate` for each measured rate.

    Attributes:
        machine: the machine of the measurements.
    """

    def __init__(self, values: Mapping[str, float], machine: str = "") -> None:
        self._values, self.machine = values, machine
        self._curves = defaultdict[str, dict[float, float]](dict)
        for name, value in values.items():
            thing, _, rate = name.partition("@")
            if rate:
                self._curves[thing][float(rate)] = value

    @classmethod
    def read(cls, path: Path = RESULTS / "costs.json") -> Self:
        """Read the costs that `Runs.write` stored."""
        raw = json.loads(path.read_text())
        return cls(raw["costs"], raw["machine"])

    @property
    def names(self) -> list[str]:
        """The names of all values."""
        return list(self._values)

    def __getitem__(self, name: str) -> float:
        """Return a cost that does not depend on the rate."""
        return self._values[name]

    def at(self, thing: str, rate: float) -> float:
        """Return a cost at a rate. Raise KeyError if it was not measured."""
        if not self._curves[thing]:
            raise KeyError(thing)
        return interpolated(self._curves[thing], rate)


def interpolated(curve: Mapping[float, float], at: float) -> float:
    """Interpolate between the measured points of a curve, on a logarithmic scale of rates.

    Outside the measured range, return the value of the nearest point. Costs fall further above the highest measured
    rate, so the result is too high there.
    """
    points = sorted(curve.items())
    if at <= points[0][0]:
        return points[0][1]
    for (low, below), (high, above) in itertools.pairwise(points):
        if at <= high:
            return below + (above - below) * math.log(at / low) / math.log(high / low)
    return points[-1][1]


def machine() -> str:
    """Return the processors, kernel and Python version of this machine."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = models[0].partition(":")[2].strip() if models else platform.machine()
    return f"{len(models) or 1} x {model}, Linux {platform.release()}, Python {platform.python_version()}"


def raise_limits(connections: int) -> None:
    """Raise the limit of open files for the connections. Raise SystemExit if the hard limit is too low."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 1000
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise SystemExit(f"the hard limit of open files (ulimit -Hn) is {hard}; raise it to at least {wanted}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
