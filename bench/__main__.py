"""Runs the bench: `python -m bench [--quick] [--only FIGURE,…] [--servers NAME,…]`; results go to bench/results."""

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
from bench.contestants import CONTESTANTS, Contestant, Surroundings
from bench.figures import Scenario, run, scenarios
from tests.support.certificate import Certificate
from tests.support.servers import RabbitMQ, scratch


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything, in two minutes")
    parser.add_argument("--only", default="*", help="figures, comma-separated, * and ? as in file names")
    parser.add_argument("--servers", default="", help="of " + ", ".join(one.name for one in CONTESTANTS))
    parser.add_argument("--rounds", type=int, help="runs of each, of which the median counts")
    parser.add_argument("--before", type=Path, help="another checkout of this gateway, to take part as `before`")
    parser.add_argument("--into", type=Path, default=Path(__file__).parent / "results", help="folder for the results")
    parser.add_argument("--add", action="store_true", help="add these runs to the results that are there")
    parser.add_argument("--list", action="store_true", help="say what figures there are")
    return parser.parse_args()


def chosen_scenarios(options: argparse.Namespace) -> list[Scenario]:
    """The scenarios with the figures asked for, without the others."""
    patterns = options.only.split(",")

    def wanted(figure: str | None) -> bool:
        return figure is not None and any(fnmatch.fnmatch(figure, pattern) for pattern in patterns)

    found = []
    for scenario in scenarios(options.quick):
        if scenario.guest and "*" in patterns:
            continue
        loads = tuple(load for load in scenario.loads if wanted(load.figure))
        connect = scenario.connect if wanted(scenario.connect) else None
        if loads or connect:
            found.append(dataclasses.replace(scenario, loads=loads, connect=connect))
    return found


def chosen_contestants(options: argparse.Namespace) -> list[Contestant]:
    """Who is asked for, in the order of the table."""
    names = [name for name in options.servers.split(",") if name] or [one.name for one in CONTESTANTS if not one.guest]
    if unknown := set(names) - {one.name for one in CONTESTANTS}:
        raise SystemExit(f"there is no contestant {', '.join(sorted(unknown))}")
    found = [one for one in CONTESTANTS if one.name in names]
    if options.before:
        found.insert(1, Contestant("before", "this gateway, before", options.before.resolve()))
    return found


def measure(options: argparse.Namespace, folder: Path, results: report.Results) -> None:
    """Every scenario, the contestants taking turns."""
    wanted, contestants = chosen_scenarios(options), chosen_contestants(options)
    rounds = options.rounds or (1 if options.quick else 3)
    clients, floor = (native_code.build(name, folder) for name in ("clients", "floor"))
    keys = tokens.make(folder, max((scenario.members for scenario in wanted), default=1))
    (folder / "frame").write_bytes(agreement.frame())
    results.labels |= {one.name: one.label for one in contestants}
    broker = RabbitMQ(folder / "broker")
    try:
        around = Surroundings(
            broker.url, broker.pid, keys, folder, floor, folder / "frame", Certificate(folder / "tls")
        )
        for contestant in contestants:
            for tls in {scenario.tls for scenario in wanted if scenario.suits(contestant)}:
                if contestant.name != "kernel":
                    agreement.check(contestant, around, tls)
        for scenario in wanted:
            for number in range(min(rounds, options.rounds or scenario.rounds)):
                for contestant in filter(scenario.suits, contestants):
                    say(f"{scenario.name}, round {number + 1}: {contestant.label}")
                    try:
                        results.add(contestant.name, list(run(scenario, contestant, around, clients)))
                    except (RuntimeError, OSError) as error:  # a quarter of an hour is not lost for it
                        say(f"failed: {error}")
    finally:
        broker.close()


_STARTED = time.monotonic()


def say(text: str) -> None:
    """A line of progress."""
    print(f"{time.monotonic() - _STARTED:5.0f} s  {text}", flush=True)


def main() -> None:
    """The command."""
    options = arguments()
    if options.list:
        print("\n".join(name for one in scenarios(options.quick) for name in report.figure_names(one)))
        return
    # A connection is a file descriptor, in the server and in the clients.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max((scenario.connections for scenario in chosen_scenarios(options)), default=0) + 200
    if hard != resource.RLIM_INFINITY and hard < most:
        raise SystemExit(f"ulimit -Hn is {hard}; the bench needs {most} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that all that was started is ended
    results = report.Results.read(options.into) if options.add else report.Results()
    with scratch() as folder:
        measure(options, folder, results)
    results.write(options.into)
    print(results.table() + results.others())
    say(f"written to {options.into}")


if __name__ == "__main__":
    main()
