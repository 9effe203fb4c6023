"""`disconnect`: closes the connections of a member, or one connection, and revokes tokens."""

from __future__ import annotations

import click

from peatio_ws.cli.operator.operator_command import connected_operator, counted, end, operator_command
from peatio_ws.cluster.operator import DAY
from peatio_ws.cluster.operator_reports import iso_time
from peatio_ws.cluster.stored_revocations import MOST_SECONDS


@operator_command
@click.argument("uid", required=False)
@click.option("--connection", metavar="ID", help="Only this connection, by its id in the log and in `who UID`.")
@click.option("--revoke", is_flag=True, help="Also refuse all tokens issued to this member until now.")
@click.option("--jti", help="Only connections that used the token with this id. Only --revoke also revokes it.")
@click.option(
    "--keep",
    metavar="DAYS",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0, MOST_SECONDS / DAY, min_open=True),
    help="How long to refuse them: at least the lifetime of a token.",
)
def disconnect(uid: str | None, connection: str | None, revoke: bool, jti: str | None, keep: float) -> None:
    """Close all connections of a member (4403), on all gateways and at once.

    Without --revoke, the member can reconnect with the same token. With --revoke, the member has to log in again:
    the gateways refuse all tokens issued until now, on workers that start later too. Lock the account first, or the
    member just logs in again. `revocations` lists what is revoked, and takes it back.
    """
    if (uid is None) is (connection is None) or (connection is not None and (revoke or jti)):
        raise click.UsageError("use either a UID (with --revoke or --jti if you like) or --connection ID")
    with connected_operator() as operator:
        if connection is not None:
            result = operator.disconnect_connection(connection)
            whose = f"with the id {connection}"
        else:
            assert uid is not None
            result = operator.disconnect(uid, jti, revoke, keep * DAY)
            whose = f"of {uid}"
    for one in result.revocations:
        which = f"the token {jti} of {uid}" if jti else f"tokens of {uid} issued until {iso_time(one.issued)}"
        click.echo(f"revoked: {which}; kept until {iso_time(one.until)}", err=True)
    end(result, f"closed {counted(result.connections, 'connection')} {whose}")
