"""`gateways`: the gateways that run, with their workers."""

from __future__ import annotations

import json

import click

from peatio_ws.cli.operator.operator_command import connected_operator, counted, end, operator_command
from peatio_ws.cli.tables import print_table
from peatio_ws.cluster import operator_reports


@operator_command
@click.option("--json", "as_json", is_flag=True, help="Print each gateway as a line of JSON.")
def gateways(as_json: bool) -> None:
    """Show all gateways and their workers: version, connections, and whether they are ready."""
    with connected_operator() as operator:
        result = operator.status()
    found = operator_reports.gateways(result)
    if as_json:
        for gateway in found:
            click.echo(json.dumps(gateway))
    else:
        rows = [
            (
                gateway["gateway"],
                str(one["worker"]),
                one["version"],
                one["since"],
                str(one["connections"]),
                str(one["members"]),
                "; ".join(one["problems"]) or "yes",
            )
            for gateway in found
            for one in gateway["workers"]
        ]
        print_table(("GATEWAY", "WORKER", "VERSION", "SINCE", "CONNECTIONS", "OF MEMBERS", "READY"), rows)
    connections = sum(one["connections"] for gateway in found for one in gateway["workers"])
    end(result, counted(connections, "connection"))
