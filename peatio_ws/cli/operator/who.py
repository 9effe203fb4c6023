"""`who`: the connections of members, on all gateways."""

from __future__ import annotations

import json

import click

from peatio_ws.cli.operator.operator_command import connected_operator, counted, end, operator_command
from peatio_ws.cli.tables import print_table
from peatio_ws.cluster import operator_reports
from peatio_ws.cluster.operator import CommandResult


@operator_command
@click.argument("uid", required=False)
@click.option("--streams", is_flag=True, help="Show each connection, with the streams it is subscribed to.")
@click.option("--json", "as_json", is_flag=True, help="Print each connection as a line of JSON.")
def who(uid: str | None, streams: bool, as_json: bool) -> None:
    """Show the members who are online: how many connections each has, since when, and on which gateways.

    With a UID, show each connection of that member, with its id in the gateways' log.
    """
    with connected_operator() as operator:
        result = operator.who(uid, streams)
    if as_json:
        for one in result.members:
            click.echo(json.dumps(operator_reports.connection(one, result.places[one.id], streams)))
    elif uid is None and not streams:
        rows = [
            (own["uid"], str(own["connections"]), own["since"], " ".join(own["gateways"]))
            for own in operator_reports.members(result)
        ]
        print_table(("MEMBER", "CONNECTIONS", "SINCE", "WHERE"), rows)
    else:
        _print_connections(result, streams)
    if uid is None:
        members = counted(len({one.uid for one in result.members}), "member")
        anonymous = operator_reports.anonymous(result)
        line = f"{members} with {counted(len(result.members), 'connection')}, {anonymous} anonymous"
    else:
        line = f"{counted(len(result.members), 'connection')} of {uid}"
    end(result, line)


def _print_connections(result: CommandResult, streams: bool) -> None:
    head = ("MEMBER", "SINCE", "PROTOCOL", "ADDRESS", "WORKER", "WAITING", "CONNECTION")
    rows = []
    for one in result.members:
        shown = operator_reports.connection(one, result.places[one.id], streams)
        worker = f"{shown['gateway']}/{shown['worker']}"
        row = (one.uid, shown["since"], one.protocol, one.address, worker, str(one.waiting), one.id)
        rows.append((*row, ",".join(one.streams)) if streams else row)
    print_table((*head, "STREAMS") if streams else head, rows)
