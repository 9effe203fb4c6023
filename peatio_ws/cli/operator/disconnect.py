"""`disconnect`: closes the connections of a member, and revokes tokens."""

from __future__ import annotations

import time
from typing import Final

import click

from peatio_ws.auth.revocations import Revocation
from peatio_ws.cli.operator.operator_command import connected_operator, counted, end, iso_time, operator_command
from peatio_ws.cluster.commands import DisconnectCommand
from peatio_ws.cluster.operator import new_question
from peatio_ws.cluster.redis_commands import MOST_SECONDS

DAY: Final = 86_400


@operator_command
@click.argument("uid")
@click.option("--revoke", is_flag=True, help="Also refuse all tokens issued to this member until now.")
@click.option("--jti", help="Only the token with this id, and the connections that used it.")
@click.option(
    "--keep",
    metavar="DAYS",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0, MOST_SECONDS / DAY, min_open=True),
    help="How long to refuse them: at least the lifetime of a token.",
)
def disconnect(uid: str, revoke: bool, jti: str | None, keep: float) -> None:
    """Close all connections of a member (4403), on all gateways and at once.

    Without --revoke, the member can reconnect with the same token. With --revoke, the member has to log in again:
    the gateways refuse all tokens issued until now, on workers that start later too. Lock the account first, or the
    member just logs in again.
    """
    now = time.time()
    revoked = None
    if revoke:
        revoked = Revocation(uid, now + keep * DAY, jti) if jti else Revocation(uid, now + keep * DAY, None, now)
    with connected_operator() as operator:
        if revoked is not None and operator.revocations_left() < 1:
            raise click.ClickException("the limit of revocations is reached; nothing was done")
        result = operator.send(DisconnectCommand(new_question(), uid, jti, revoked), revoked)
    if revoked is not None:
        which = f"the token {jti} of {uid}" if jti else f"tokens of {uid} issued until {iso_time(now)}"
        click.echo(f"revoked: {which}; kept until {iso_time(revoked.until)}", err=True)
    end(result, f"closed {counted(result.connections, 'connection')} of {uid}")
