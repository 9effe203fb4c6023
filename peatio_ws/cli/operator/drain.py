"""`drain`: disconnects the clients of gateways, and makes these refuse new ones."""

from __future__ import annotations

import click

from peatio_ws.cli.operator.operator_command import connected_operator, counted, end, no_gateway, operator_command
from peatio_ws.cluster.operator import NotFound


@operator_command
@click.option("--host", "where", metavar="NAME", help="All gateways of this host, or one of them (host:port).")
@click.option("--all", "everywhere", is_flag=True, help="All gateways.")
@click.option("--undo", is_flag=True, help="Accept clients again.")
def drain(where: str | None, everywhere: bool, undo: bool) -> None:
    """Empty gateways: they report not ready, refuse new connections (503) and close the existing ones (1012).

    The processes do not end: a drained worker waits for TERM, or for --undo. A worker that starts later (after HUP, a
    restart or a crash) accepts clients. `who` shows the names of hosts, and how many connections are left.
    """
    if (where is None) is not everywhere:
        raise click.UsageError("use --host NAME or --all")
    with connected_operator() as operator:
        try:
            result = operator.drain(where, undo)
        except NotFound as unknown:
            no_gateway(str(unknown))
    end(result, "accepts clients again" if undo else f"draining {counted(result.connections, 'connection')}")
