"""Run the bench: `python -m bench [--quick] [--only FIGURE,…] [--servers NAME,…]`. Writes results to bench/results."""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import resource
import signal
import sys
import time
from pathlib import Path

from bench import agreement, native_code, report, tokens
from bench.contestants import CONTESTANTS, Contestant, Setup
from bench.figures import Scenario, run, scenarios
from tests.support.certificate import Certificate
from tests.support.servers import RabbitMQ, scratch


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter runs, four minutes in all")
    parser.add_argument("--only", default="*", help="names of figures, comma-separated; may contain * and ?")
    parser.add_argument("--servers", default="", help="some of " + ", ".join(one.name for one in CONTESTANTS))
    parser.add_argument("--rounds", type=int, help="runs of each scenario at each server; results are medians")
    parser.add_argument("--before", type=Path, help="also measure another checkout of this gateway, as `before`")
    parser.add_argument("--into", type=Path, default=Path(__file__).parent / "results", help="folder for the results")
    parser.add_argument("--add", action="store_true", help="add these runs to the results in the folder")
    parser.add_argument("--list", action="store_true", help="list the figures and exit")
    return parser.parse_args()


def chosen_scenarios(options: argparse.Namespace) -> list[Scenario]:
    """Return the scenarios, reduced to the figures that `--only` selects."""
    patterns = options.only.split(",")

    def selected(figure: str | None) -> bool:
        return figure is not None and any(fnmatch.fnmatch(figure, pattern) for pattern in patterns)

    chosen = []
    for scenario in scenarios(options.quick):
        if scenario.guest and "*" in patterns:
            continue
        loads = tuple(load for load in scenario.loads if selected(load.figure))
        connect = scenario.connect if selected(scenario.connect) else None
        if loads or connect:
            chosen.append(dataclasses.replace(scenario, loads=loads, connect=connect))
    return chosen


def chosen_contestants(options: argparse.Namespace) -> list[Contestant]:
    """Return the servers to measure, in the order of the table."""
    names = [name for name in options.servers.split(",") if name] or [one.name for one in CONTESTANTS if not one.guest]
    if unknown := set(names) - {one.name for one in CONTESTANTS}:
        raise SystemExit(f"unknown server {', '.join(sorted(unknown))}; --help lists the servers")
    chosen = [one for one in CONTESTANTS if one.name in names]
    if options.before:
        chosen.insert(1, Contestant("before", "this gateway, before", options.before.resolve()))
    return chosen


def measure(options: argparse.Namespace, folder: Path, results: report.Results) -> None:
    """Run every scenario, with the servers in turns."""
    chosen, contestants = chosen_scenarios(options), chosen_contestants(options)
    rounds = options.rounds or (1 if options.quick else 3)
    clients, floor = (native_code.build(name, folder) for name in ("clients", "floor"))
    keys = tokens.make(folder, max((scenario.members for scenario in chosen), default=1))
    (folder / "frame").write_bytes(agreement.frame())
    results.labels |= {one.name: one.label for one in contestants}
    broker = RabbitMQ(folder / "broker")
    try:
        setup = Setup(broker.url, broker.pid, keys, folder, floor, folder / "frame", Certificate(folder / "tls"))
        for contestant in contestants:
            for tls in {scenario.tls for scenario in chosen if scenario.suits(contestant)}:
                if contestant.name != "kernel":
                    agreement.check(contestant, setup, tls)
        for scenario in chosen:
            for number in range(min(rounds, options.rounds or scenario.rounds)):
                for contestant in filter(scenario.suits, contestants):
                    report_progress(f"{scenario.name}, round {number + 1}: {contestant.label}")
                    try:
                        results.add(contestant.name, list(run(scenario, contestant, setup, clients)))
                    except (RuntimeError, OSError) as error:  # the results of the other runs are kept
                        report_progress(f"failed: {error}")
    finally:
        broker.close()


_STARTED = time.monotonic()


def report_progress(text: str) -> None:
    """Print a line of progress, with the seconds since the start."""
    print(f"{time.monotonic() - _STARTED:5.0f} s  {text}", flush=True)


def main() -> None:
    """Run the command."""
    options = arguments()
    if options.list:
        print("\n".join(name for one in scenarios(options.quick) for name in report.figure_names(one)))
        return
    # Each connection takes a file descriptor in the server and one in the clients.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max((scenario.connections for scenario in chosen_scenarios(options)), default=0) + 200
    if hard != resource.RLIM_INFINITY and hard < most:
        raise SystemExit(f"ulimit -Hn is {hard}, but the bench needs {most} open files; raise the limit")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the started servers are ended
    results = report.Results.read(options.into) if options.add else report.Results()
    with scratch() as folder:
        measure(options, folder, results)
    results.write(options.into)
    print(results.table() + results.others())
    report_progress(f"written to {options.into}")


if __name__ == "__main__":
    main()
