"""`trace`: what single connections do, live, on all gateways."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import sys
from typing import Any

import click

from peatio_ws.cli.operator import trace_lines
from peatio_ws.cli.operator.operator_command import connected_operator, counted, no_gateway, operator_command
from peatio_ws.cluster.commands import TraceTarget
from peatio_ws.cluster.tracing.messages import MOST_SECONDS
from peatio_ws.cluster.tracing.reader import TraceReader


@operator_command
@click.argument("uid", required=False)
@click.option("--address", metavar="IP", help="All connections from this address, and refused ones.")
@click.option("--connection", metavar="ID", help="One connection, by its id in the log and in `who UID`.")
@click.option(
    "--seconds",
    default=600.0,
    show_default=True,
    type=click.FloatRange(1, MOST_SECONDS),
    help="End after this time, on the gateways too.",
)
@click.option("--bodies", is_flag=True, help="Show what is sent and received, except messages with a token.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def trace(
    uid: str | None, address: str | None, connection: str | None, seconds: float, bodies: bool, as_json: bool
) -> None:
    """Show live what the connections of a member, or from an address, do: opened, refused, subscribed, delivered,
    waiting bytes, pings, closed and why.

    Connections that open later are shown, too. The clients notice nothing. A trace ends with --seconds or Ctrl-C, and
    within some seconds if this command is killed.
    """
    if sum(given is not None for given in (uid, address, connection)) != 1:
        raise click.UsageError("use one of UID, --address IP and --connection ID")
    with connected_operator() as operator:
        result, reader = operator.trace(TraceTarget(uid, _normal(address), connection), seconds, bodies)
        with contextlib.closing(reader):
            if not result.workers:
                no_gateway("no gateway received it")
            end = _show_all(reader, as_json)
    click.echo(f"{end['text']}; {counted(end['lines'], 'line')}, {end['omitted']} left out", err=True)
    if end["reason"] == "redis":
        sys.exit(1)


def _show_all(reader: TraceReader, as_json: bool) -> dict[str, Any]:
    """Print all lines. Return the last one."""
    line: dict[str, Any] = {}
    try:
        for line in reader.lines():
            _show(line, as_json)
    except KeyboardInterrupt:
        line = reader.end("stopped", "stopped")
        _show(line, as_json)
    return line


def _show(line: dict[str, Any], as_json: bool) -> None:
    text = json.dumps(line, ensure_ascii=False) if as_json else trace_lines.shown(line, sys.stdout.isatty())
    if text is None or (as_json and line["kind"] == "alive"):
        return
    try:
        click.echo(text)
    except BrokenPipeError:  # the reader of the pipe has ended, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's flush at exit
        sys.exit(0)


def _normal(address: str | None) -> str | None:
    """Return an address as gateways write it."""
    if address is None:
        return None
    try:
        found = ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        raise click.BadParameter(f"{address} is not an IP address", param_hint="--address") from None
    return str(getattr(found, "ipv4_mapped", None) or found)
