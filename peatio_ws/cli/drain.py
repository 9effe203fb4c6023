"""`drain`: sends the clients of gateways away, and refuses new ones."""

from __future__ import annotations

import sys

import click

from peatio_ws.cli.operator import new_question
from peatio_ws.cli.operator_command import NOBODY, connected_operator, counted, end, operator_command
from peatio_ws.cluster.commands import DrainCommand


@operator_command
@click.option("--host", "where", metavar="NAME", help="All gateways of this host, or one of them (host:port).")
@click.option("--all", "everywhere", is_flag=True, help="All gateways there are.")
@click.option("--undo", is_flag=True, help="Take clients again.")
def drain(where: str | None, everywhere: bool, undo: bool) -> None:
    """Empty gateways: they are not ready any more, refuse who comes (503), and tell who is there to go (1012).

    Nothing ends: a drained worker waits for TERM, or for --undo. One that starts (after HUP, a restart or a crash)
    takes clients. `who` tells the names of hosts, and how many are still there.
    """
    if (where is None) is not everywhere:
        raise click.UsageError("say which: --host NAME, or --all")
    with connected_operator() as operator:
        result = operator.send(DrainCommand(new_question(), where, undo))
    if result.workers and not result.meant and not result.silent:
        names = ", ".join(sorted({answer.place.gateway for answer in result.answers}))
        click.echo(f"no gateway is called {where}; there are: {names}", err=True)
        sys.exit(NOBODY)
    end(result, "takes clients again" if undo else f"{counted(result.connections, 'connection')} told to go")
