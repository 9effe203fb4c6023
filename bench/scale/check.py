"""Compares the model with real gateways, RabbitMQ and Redis on this machine.

    python -m bench.scale.check [--parts one,two,four,eight,tls,off,cluster,cluster-two] [--add]

Each part starts gateways, opens clients, and publishes private events, public events and increments at the same time,
at two rates. It writes the runs to bench/results/scale/check.json, and a table of modelled and measured figures to
check.md. It compares CPU, traffic and memory. It does not compare latencies, so two cores can run eight workers at low
rates.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench import native_code, tokens
from bench.scale.costs import RESULTS, Costs, machine, raise_limits
from bench.scale.model import Exchange, Need, Setup, need
from bench.scale.system import Servers, System, Usage, busy_cores
from bench.scale.traffic import LEVELS, MARKET, PRIVATE_BYTES, PUBLIC_BYTES, TRADES, Rates
from tests.support.followers import Market
from tests.support.servers import scratch

MEMBERS, FOLLOWERS = 200, 200
"""Clients of each kind. Half of the followers follow the trades, the other half the increments."""
SECONDS, TURNS = 5.0, 3
"""Duration of a load, and runs of each load. A run then waits until the workers have received all events."""
GROUPS: Final = ("gateways", "RabbitMQ", "Redis")
Row = tuple[str, str, str, float, float]
"""Part, load, figure, modelled value, measured value."""
MAX_HEAVY_WORKERS: Final = 4
"""With more workers, the heavy load overloads two cores."""
LOADS: Final = {
    "light": Rates(private=120, public=80, increments=80),
    "heavy": Rates(private=350, public=250, increments=200),
}


class Part(NamedTuple):
    """The servers of a part."""

    hosts: int = 1
    workers: int = 1
    nodes: int = 1
    tls: bool = False
    history: bool = True

    def __str__(self) -> str:
        hosts = f"{self.hosts} hosts × " if self.hosts > 1 else ""  # noqa: RUF001
        words = [f"{hosts}{self.workers} worker{'s' if self.workers > 1 else ''}"]
        words += ["3 nodes"] if self.nodes == 3 else []
        words += ["TLS"] if self.tls else []
        words += [] if self.history else ["no history"]
        return ", ".join(words)

    def loads(self) -> dict[str, Rates]:
        """Return the loads that two cores can handle. At their limit, events arrive in batches and cost less."""
        return LOADS if self.hosts * self.workers <= MAX_HEAVY_WORKERS else {"light": LOADS["light"]}

    def setup(self) -> Setup:
        """Return these servers as input of the model, with a history that covers the loads of the part."""
        history_seconds = TURNS * len(LOADS) * SECONDS
        return Setup(self.hosts, self.workers, self.nodes, self.tls, self.history, history_seconds=history_seconds)


PARTS: Final = {
    "one": Part(),
    "two": Part(workers=2),
    "four": Part(workers=4),
    "eight": Part(workers=8),
    "tls": Part(workers=2, tls=True),
    "off": Part(workers=4, history=False),
    "cluster": Part(hosts=3, nodes=3),
    "cluster-two": Part(hosts=3, workers=2, nodes=3),
}


def figures(used: Usage, memory: tuple[int, int, int, int]) -> dict[str, float]:
    """Return the measured figures: CPU in cores, traffic in bytes a second, memory in bytes."""
    return {
        "gateways": used.gateways / used.seconds,
        "RabbitMQ": sum(used.nodes) / used.seconds,
        **({"first node": used.nodes[0] / used.seconds} if len(used.nodes) > 1 else {}),
        "Redis": used.redis / used.seconds,
        "to workers": used.consumed / used.seconds,
        **({"between nodes": used.between / used.seconds} if len(used.nodes) > 1 else {}),
        "to clients": used.delivered / used.seconds,
        "memory of gateways": float(memory[0] + memory[1]),
    }


def modelled(found: Need, part: Part) -> dict[str, float]:
    """Return the same figures, calculated by the model."""
    cluster = part.nodes > 1
    return {
        "gateways": found.host * part.hosts,
        "RabbitMQ": sum(found.nodes),
        **({"first node": found.nodes[0]} if cluster else {}),
        "Redis": found.redis,
        "to workers": found.consumed,
        **({"between nodes": found.between} if cluster else {}),
        "to clients": found.delivered,
        "memory of gateways": found.host_memory * part.hosts,
    }


def exchange(counts: Rates, seconds: float) -> Exchange:
    """Return the published events as input of the model."""
    public = counts.public + counts.increments
    return Exchange(
        clients=MEMBERS + FOLLOWERS,
        members=MEMBERS,
        private=counts.private / seconds,
        public=public / seconds,
        followers=FOLLOWERS / 2,
        increments=counts.increments / public,
        private_bytes=PRIVATE_BYTES,
        public_bytes=(counts.public * PUBLIC_BYTES + counts.increments * increment_bytes()) / public,
    )


@cache
def increment_bytes() -> float:
    """Return the mean size of an increment."""
    return statistics.mean(map(len, Market(MARKET, 1000, LEVELS).increments))


def run(part: Part, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Run a part. Return the runs of each load: numbers of events, seconds and measured figures."""
    keys, program = tokens.make(folder, MEMBERS), native_code.build("clients", folder)
    uids = [tokens.uid(number) for number in range(MEMBERS)]
    environ = {} if part.history else {"AMQP_HISTORY": "off"}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in part.loads()}
    with (
        Servers(folder, part.nodes, keys) as servers,
        System(servers, part.hosts, part.workers, uids, part.tls, environ) as system,
        system.clients(program, MEMBERS, {TRADES: FOLLOWERS // 2, f"{MARKET}-inc": FOLLOWERS // 2}),
    ):
        time.sleep(1)
        for _ in range(TURNS):
            for name, rates in part.loads().items():
                used, counts = system.load(rates, SECONDS, part.history)
                measured = figures(used, system.memory())
                found[name].append({"counts": counts._asdict(), "seconds": used.seconds, "measured": measured})
    return found


def rows(runs: dict[str, dict[str, list[dict[str, Any]]]], costs: Costs) -> list[Row]:
    """Return a row for each figure, from its median run: the middle one by the ratio of measured to modelled value."""
    found = []
    for name, loads in runs.items():
        part = PARTS[name]
        for load in part.loads():
            several = loads[load]
            pairs: dict[str, list[tuple[float, float]]] = {}
            for one in several:
                published = exchange(Rates(**one["counts"]), one["seconds"])
                expected = modelled(need(costs, published, part.setup()), part)
                for figure, value in one["measured"].items():  # some stored runs have no memory
                    pairs.setdefault(figure, []).append((expected[figure], value))
            for figure, values in pairs.items():
                model, measured = sorted(values, key=lambda pair: pair[1] / pair[0])[len(values) // 2]
                found.append((str(part), load, figure, model, measured))
    return found


def summary(found: list[Row]) -> str:
    """Return a Markdown table of the CPU, with a line for each part and load: modelled and measured percentages."""
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for part, load, figure, model, measured in found:
        cells.setdefault((part, load), {})[figure] = f"{model * 100:.1f}, {measured * 100:.1f}"
    lines = [f"| | load | {' | '.join(GROUPS)} |", f"| --- | --- |{' ---: |' * len(GROUPS)}"]
    for (part, load), figures in cells.items():
        lines.append(f"| {part} | {load} | {' | '.join(figures[group] for group in GROUPS)} |")
    return "\n".join(lines) + "\n"


def table(found: list[Row]) -> str:
    """Return a Markdown table of all figures, modelled and measured."""
    lines = ["| | load | | model | measured | difference |", "| --- | --- | --- | ---: | ---: | ---: |"]
    for part, load, figure, model, measured in found:
        lines.append(
            f"| {part} | {load} | {figure} | {formatted(figure, model)} | {formatted(figure, measured)} "
            f"| {model / measured - 1:+.0%} |"
        )
    return "\n".join(lines) + "\n"


def formatted(figure: str, value: float) -> str:
    """Return a value with its unit."""
    if figure.startswith("memory"):
        return f"{value / 1e6:,.0f} MB"
    if figure.startswith(("to", "between")):
        return f"{value / 1e3:,.0f} KB/s"
    return f"{value * 100:.1f} %"


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale.check", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--parts", default=",".join(PARTS), help="parts to run, comma-separated [%(default)s]")
    parser.add_argument("--add", action="store_true", help="add the runs to the stored ones")
    parser.add_argument(
        "--into", type=Path, default=RESULTS, help="folder of costs.json and of the results [%(default)s]"
    )
    parser.add_argument(
        "--table", action="store_true", help="do not run anything; write the tables of the stored runs again"
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the started processes are stopped
    raise_limits(MEMBERS + FOLLOWERS)
    stored, costs = options.into / "check.json", Costs.read(options.into / "costs.json")
    runs = json.loads(stored.read_text())["runs"] if options.add or options.table else {}
    for name in [] if options.table else options.parts.split(","):
        with scratch() as folder, busy_cores():
            found = run(PARTS[name], folder)
        for load, several in found.items():
            runs.setdefault(name, {}).setdefault(load, []).extend(several)
        stored.write_text(json.dumps({"machine": machine(), "runs": runs}, indent=1) + "\n")
    found_rows = rows(runs, costs)
    text = table(found_rows) + "\nCPU, percent of a core: model, measured\n\n" + summary(found_rows)
    (options.into / "check.md").write_text(f"{_HEAD}\n{text}\n{machine()}\n")
    print(text)


_HEAD = f"""# The sizing model, compared with measurements

The model of `python -m bench.scale`, compared with real gateways, RabbitMQ and Redis on this machine, with {MEMBERS}
members and {FOLLOWERS} followers of two streams. The light load is {LOADS["light"].private} private and
{LOADS["light"].public + LOADS["light"].increments} public events a second, the heavy one {LOADS["heavy"].private} and
{LOADS["heavy"].public + LOADS["heavy"].increments}. CPU is in percent of a core, of all processes of a group.
"""

if __name__ == "__main__":
    main()
