"""`revocations`: lists revoked members and tokens, and takes revocations back."""

from __future__ import annotations

import json

import click

from peatio_ws.cli.operator.operator_command import connected_operator, end, operator_command
from peatio_ws.cli.tables import print_table
from peatio_ws.cluster import operator_reports


@operator_command
@click.option("--undo", "name", metavar="UID|JTI", help="Accept the tokens of this member, or this token, again.")
@click.option("--json", "as_json", is_flag=True, help="Print each revocation as a line of JSON.")
def revocations(name: str | None, as_json: bool) -> None:
    """List the tokens that `disconnect --revoke` revoked, and until when the gateways refuse them.

    A member has one entry for all tokens issued until a time, and one for each token that was revoked by its id.
    """
    with connected_operator() as operator:
        result = operator.cancel_revocations(name) if name is not None else None
        found = operator.revocations() if result is None else result.revocations
    reports = [operator_reports.revocation(one) for one in found]
    if as_json:
        for one in reports:
            click.echo(json.dumps(one))
    else:
        rows = [(one["uid"], one["jti"] or "all", one["issued_until"] or "-", one["until"]) for one in reports]
        refused = "REFUSED UNTIL" if result is None else "WAS REFUSED UNTIL"
        print_table(("MEMBER", "TOKEN", "ISSUED UNTIL", refused), rows)
    if result is not None:
        end(result, "accepted again")
    if not reports:
        click.echo("no revocations", err=True)
