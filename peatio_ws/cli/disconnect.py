"""`disconnect`: ends a member's connections, and revokes tokens."""

from __future__ import annotations

import time
from typing import Final

import click

from peatio_ws.auth.revocations import Revocation
from peatio_ws.cli.operator import new_question
from peatio_ws.cli.operator_command import connected_operator, counted, end, iso_time, operator_command
from peatio_ws.cluster.commands import DisconnectCommand
from peatio_ws.cluster.redis_commands import MOST_SECONDS

DAY: Final = 86_400


@operator_command
@click.argument("uid")
@click.option("--revoke", is_flag=True, help="Refuse its tokens from now on: all that were issued until now.")
@click.option("--jti", help="Only the token of this id, and the connections that showed it.")
@click.option(
    "--keep",
    metavar="DAYS",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0, MOST_SECONDS / DAY, min_open=True),
    help="How long refused: at least as long as a token lives.",
)
def disconnect(uid: str, revoke: bool, jti: str | None, keep: float) -> None:
    """Close a member's connections (4403), everywhere and at once.

    Without --revoke it may come back with the token that it has. With it, it has to log in again: tokens that were
    issued until now are refused, on workers that start later too. Lock the account first, or it does.
    """
    now = time.time()
    revoked = None
    if revoke:
        revoked = Revocation(uid, now + keep * DAY, jti) if jti else Revocation(uid, now + keep * DAY, None, now)
    with connected_operator() as operator:
        if revoked is not None and operator.revocations_left() < 1:
            raise click.ClickException("there are as many revocations as can be kept; nothing was done")
        result = operator.send(DisconnectCommand(new_question(), uid, jti, revoked), revoked)
    if revoked is not None:
        which = f"the token {jti} of {uid}" if jti else f"tokens of {uid} issued until {iso_time(now)}"
        click.echo(f"revoked: {which}; kept until {iso_time(revoked.until)}", err=True)
    end(result, f"closed {counted(result.connections, 'connection')} of {uid}")
