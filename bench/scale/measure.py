"""Measures the costs of the model on this machine, and stores them in bench/results/scale/costs.json.

    python -m bench.scale.measure [--parts events,clients,clients_tls,connections,cluster] [--rounds 1] [--add]

Each part takes a minute or two. Run it on a machine without other work. The CPU time of each process comes from /proc,
the bytes from the counters of TCP sockets. `--add` keeps the runs in the file. A cost is the median of its runs.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench import native_code, tokens
from bench.scale.client_costs import clients, clients_tls, cluster, connections
from bench.scale.costs import RESULTS, Runs, raise_limits
from bench.scale.event_costs import events
from bench.scale.parts import OPENED, Values, Workspace
from bench.scale.system import busy_cores
from tests.support.servers import scratch

PARTS: Final[dict[str, Callable[[Workspace], Values]]] = {
    one.__name__: one for one in (events, clients, clients_tls, connections, cluster)
}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale.measure", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--parts", default=",".join(PARTS), help="parts to run, comma-separated [%(default)s]")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each part [%(default)s]")
    parser.add_argument("--add", action="store_true", help="add the runs to the stored ones")
    parser.add_argument("--into", type=Path, default=RESULTS, help="folder of costs.json [%(default)s]")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the started processes are stopped
    raise_limits(OPENED)
    runs = Runs.read(options.into) if options.add else Runs.empty()
    for _ in range(options.rounds):
        for name in options.parts.split(","):
            with scratch() as folder, busy_cores():
                workspace = Workspace(folder, tokens.make(folder, OPENED), native_code.build("clients", folder))
                began = time.monotonic()
                found = PARTS[name](workspace)
            print(f"{name}: {time.monotonic() - began:.0f} s")
            for cost, value in found.items():
                print(f"  {cost:32} {value:12.2f}")
            runs.add(found)
            runs.write(options.into)


if __name__ == "__main__":
    main()
