"""`notice`: sends a text to the clients that ask for notices."""

from __future__ import annotations

import click

from peatio_ws.cli.operator.operator_command import connected_operator, counted, end, operator_command


@operator_command
@click.argument("text")
@click.option("--uid", help="Only to this member.")
def notice(text: str, uid: str | None) -> None:
    """Send {"notice":{"message":TEXT}} to all clients that asked for notices ("notices":true, ?notices=1)."""
    with connected_operator() as operator:
        result = operator.notify(text, uid)
    end(result, f"sent to {counted(result.connections, 'connection')}{f' of {uid}' if uid else ''}")
