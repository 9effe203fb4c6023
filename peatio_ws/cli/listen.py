"""`listen`: a client that prints what it receives."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from typing import Any

import click

from peatio_ws.cli.key_files import has_key, make_token
from peatio_ws.cli.listen_client import ENOUGH, ListenTarget, readable, run_listener
from peatio_ws.cli.token import token_options


@click.command()
@click.argument("url", default="ws://127.0.0.1:8080/")
@click.option("--stream", "streams", multiple=True, metavar="NAME", help="Subscribe to it; any number of times.")
@click.option("--token", "given", metavar="TOKEN", envvar="JWT", help="Use this token instead of making one. [JWT]")
@click.option("--jwt", "by_message", is_flag=True, help="Show the token in a message even where streams are named.")
@click.option("--count", type=int, help="End after so many events.")
@click.option("--seconds", type=float, help="End after so many seconds.")
@token_options
def listen(
    url: str,
    streams: tuple[str, ...],
    given: str | None,
    by_message: bool,
    count: int | None,
    seconds: float | None,
    **options: Any,
) -> None:
    """Connect to URL, and print every frame: over several lines on a terminal, a line of JSON each in a pipe. Numbers
    and texts are shown as they came.

    Without streams it authenticates, and gets its member's orders and trades. With --stream, or a URL of Ranger's
    (…/public, …/private, …?stream=NAME), it subscribes; a token is made and shown, in the Authorization header, for
    private streams (no dot in the name), prefixed ones (two dots) and …/private only.

    \b
      peatio-ws listen --stream btcusd.trades --stream btcusd.ob-inc
      peatio-ws listen ws://127.0.0.1:8080/private --stream order --uid ID1234567890

    \b
    Status: 0 ended by --count, --seconds or Ctrl-C; 1 no connection, or no answer; 3 not authenticated, or
    not let into a stream; 4 closed by the gateway.
    """
    target = ListenTarget(url, streams, by_message=by_message, count=count, seconds=seconds)
    end = run_listener(target.with_token(_bearer(target, given, options)), _print)
    if end.why:
        click.echo(end.why, err=True)
    sys.exit(end.status)


def _bearer(target: ListenTarget, given: str | None, options: dict[str, Any]) -> str | None:
    """The token to come with, if there is anything to see that is not for everybody."""
    if not target.needs_token:
        return None
    if given:
        return given
    if target.speaks_ranger and not target.by_message and not has_key(options["key"]):
        click.echo("without a token: there is no private key to make one with", err=True)
        return None
    return make_token(**options)


def _print(frame: str) -> None:
    if not sys.stdout.isatty():
        try:
            print(frame, flush=True)
        except BrokenPipeError:  # who reads the pipe has seen enough, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its end
            sys.exit(ENOUGH)
        return
    click.echo(click.style(datetime.now().astimezone().strftime("%H:%M:%S.%f")[:-3], dim=True) + " " + readable(frame))
