"""Calculates the CPU, network traffic and memory of gateways, RabbitMQ and Redis for an exchange, from measured costs.

    python -m bench.scale --hosts 3 --workers 4 --clients 50000 --public 500 --private 200

Prints a table of the resources and the one that reaches its limit first. The costs are in
bench/results/scale/costs.json, which `python -m bench.scale.measure` writes. The formulas are in `model.py`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.scale.costs import RESULTS, Costs
from bench.scale.model import CLUSTER, Exchange, Setup
from bench.scale.report import Capacity, report


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.scale", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--hosts", type=int, default=2, help="hosts, with one gateway each [%(default)s]")
    add("--workers", type=int, default=4, help="workers per host [%(default)s]")
    add("--nodes", type=int, default=1, choices=(1, CLUSTER), help="RabbitMQ nodes [%(default)s]")
    add("--clients", type=float, default=10_000, help="open connections [%(default)s]")
    add("--members", type=float, help="authenticated connections [all]")
    add("--private", type=float, default=100, help="private events a second, in the whole exchange [%(default)s]")
    add("--public", type=float, default=200, help="public events a second, in all markets [%(default)s]")
    add("--increments", type=float, default=0.8, help="share of the public events that change books [%(default)s]")
    add("--followers", type=float, help="mean number of clients that receive a public event [2%% of the clients]")
    add(
        "--connected",
        type=float,
        default=1.0,
        help="mean number of connections that receive a private event [%(default)s]",
    )
    add("--private-bytes", type=float, default=350, help="size of a private event [%(default)s]")
    add("--public-bytes", type=float, default=150, help="size of a public event [%(default)s]")
    add("--tls", action="store_true", help="the gateways terminate TLS")
    add("--no-history", action="store_true", help="AMQP_HISTORY=off: clients cannot resume")
    add(
        "--books",
        action="store_true",
        help="WEBSOCKET_BOOKS is set: a worker reads the books and the streams that its clients follow",
    )
    add("--node-cores", type=float, default=2.0, help="cores per RabbitMQ node [%(default)s]")
    add("--network", type=float, default=1.0, help="Gbit/s per host and node [%(default)s]")
    add("--readers", type=int, help="processes that read from RabbitMQ; the gateway has no such option [1 per worker]")
    add(
        "--costs",
        type=Path,
        default=RESULTS / "costs.json",
        help="file written by python -m bench.scale.measure [%(default)s]",
    )
    return parser.parse_args(words)


def inputs(options: argparse.Namespace) -> tuple[Exchange, Setup, Capacity]:
    """Return the exchange, the setup and its capacity, from the options."""
    exchange = Exchange(
        clients=options.clients,
        members=options.clients if options.members is None else options.members,
        private=options.private,
        public=options.public,
        followers=options.clients / 50 if options.followers is None else options.followers,
        increments=options.increments,
        private_bytes=options.private_bytes,
        public_bytes=options.public_bytes,
        connected=options.connected,
    )
    setup = Setup(
        hosts=options.hosts,
        workers=options.workers,
        nodes=options.nodes,
        tls=options.tls,
        history=not options.no_history,
        on_demand=options.books,
        readers=options.readers,
    )
    return exchange, setup, Capacity(options.node_cores, options.network * 1e9)


def main(words: list[str] | None = None) -> None:
    """Run the command."""
    options = arguments(words)
    costs = Costs.read(options.costs)
    exchange, setup, capacity = inputs(options)
    print(
        f"{exchange.clients:,.0f} clients; {exchange.private:,.0f} private events a second, and {exchange.public:,.0f} "
        f"public ones to {exchange.followers:,.0f} clients each\n"
        f"{setup.hosts} hosts with {setup.workers} workers each, RabbitMQ with {setup.nodes} "
        f"node{'s' if setup.nodes > 1 else ''}; costs measured on {costs.machine}\n"
    )
    print(report(costs, exchange, setup, capacity))


if __name__ == "__main__":
    main()
