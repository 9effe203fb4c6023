"""`who`: the connections of members, on all gateways."""

from __future__ import annotations

import json
from typing import Any

import click

from peatio_ws.cli.operator.operator_command import connected_operator, counted, end, iso_time, operator_command
from peatio_ws.cli.tables import print_table
from peatio_ws.cluster.commands import MemberConnection, WhoCommand
from peatio_ws.cluster.operator import CommandResult, new_question


@operator_command
@click.argument("uid", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print each connection as a line of JSON.")
def who(uid: str | None, as_json: bool) -> None:
    """Show the members who are online: how many connections each has, since when, and on which gateways.

    With a UID, show each connection of that member, with its id in the gateways' log.
    """
    with connected_operator() as operator:
        result = operator.send(WhoCommand(new_question(), uid))
    found = sorted(result.members, key=lambda one: (one.uid, one.since))
    if as_json:
        for one in found:
            click.echo(json.dumps(_as_json(one, result)))
    elif uid is None:
        print_table(("MEMBER", "CONNECTIONS", "SINCE", "WHERE"), _members(found, result))
    else:
        rows = [(iso_time(one.since), one.protocol, one.address, _worker(one, result), one.id) for one in found]
        print_table(("SINCE", "PROTOCOL", "ADDRESS", "WORKER", "CONNECTION"), rows)
    if uid is None:
        members = counted(len({one.uid for one in found}), "member")
        anonymous = result.connections - len(found)
        line = f"{members} with {counted(len(found), 'connection')}, {anonymous} anonymous"
    else:
        line = f"{counted(len(found), 'connection')} of {uid}"
    end(result, line)


def _members(found: list[MemberConnection], result: CommandResult) -> list[tuple[str, ...]]:
    """Return a row for each member, with the time of its oldest connection."""
    rows: dict[str, list[MemberConnection]] = {}
    for one in found:
        rows.setdefault(one.uid, []).append(one)
    return [
        (
            uid,
            str(len(own)),
            iso_time(own[0].since),
            " ".join(sorted({result.places[one.id].gateway for one in own})),
        )
        for uid, own in rows.items()
    ]


def _worker(one: MemberConnection, result: CommandResult) -> str:
    place = result.places[one.id]
    return f"{place.gateway}/{place.worker}"


def _as_json(one: MemberConnection, result: CommandResult) -> dict[str, Any]:
    place = result.places[one.id]
    return {
        "uid": one.uid,
        "connection": one.id,
        "protocol": one.protocol,
        "address": one.address,
        "since": iso_time(one.since),
        "host": place.host,
        "gateway": place.gateway,
        "worker": place.worker,
    }
