"""`token`: prints a session token like Barong's. Also the options of all commands that make a token."""

from __future__ import annotations

import json
from typing import Any

import click

from peatio_ws.auth import keys
from peatio_ws.cli.key_files import make_token
from peatio_ws.simulator import simulation


def _claim(_context: Any, _parameter: Any, values: tuple[str, ...]) -> dict[str, Any]:
    claims = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals:
            raise click.BadParameter(f"{value}: write NAME=VALUE")
        try:
            claims[name] = json.loads(text)
        except ValueError:
            claims[name] = text
    return claims


def token_options(command: Any) -> Any:
    """Add the options of every command that makes a token."""
    for option in reversed(
        [
            click.option("--uid", default=simulation.MEMBER, show_default=True, help="The member's uid."),
            click.option("--member-id", type=int, help="Peatio's numeric id, as claim member_id."),
            click.option("--role", default="member", show_default=True),
            click.option("--expires", default=3600, show_default=True, metavar="SECONDS", help="From now."),
            click.option("--audience", envvar="JWT_AUDIENCE", help="Claim aud; comma-separated. [JWT_AUDIENCE]"),
            click.option("--issuer", envvar="JWT_ISSUER", help="Claim iss. [JWT_ISSUER]"),
            click.option(
                "--claim",
                "claims",
                multiple=True,
                callback=_claim,
                metavar="NAME=VALUE",
                help="Any claim; JSON or text.",
            ),
            click.option(
                "--key",
                metavar="FILE",
                help="Private key, or the secret of HS256. [JWT_PRIVATE_KEY as PEM or base64; .run/private.pem; for "
                "HS256 JWT_PUBLIC_KEY]",
            ),
            click.option(
                "--algorithm",
                default="RS256",
                show_default=True,
                envvar="JWT_ALGORITHM",
                type=click.Choice(keys.ALGORITHMS),
            ),
        ]
    ):
        command = option(command)
    return command


@click.command()
@token_options
def token(**options: Any) -> None:
    """Print a session token, as Barong would make it.

    \b
    Paste it into a client:  {"jwt":"Bearer <token>"}
    """
    click.echo(make_token(**options))
