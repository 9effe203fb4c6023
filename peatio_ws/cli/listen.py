"""`listen`: a client that prints what it receives."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from typing import Any

import click

from peatio_ws.cli.json_colors import colored
from peatio_ws.cli.key_files import has_key, make_token
from peatio_ws.cli.listener.client import ENOUGH, ListenResult, ListenTarget, run_listener
from peatio_ws.cli.listener.follow import follow
from peatio_ws.cli.token import token_options


@click.command()
@click.argument("url", default="ws://127.0.0.1:8080/")
@click.option("--stream", "streams", multiple=True, metavar="NAME", help="Subscribe to this stream; repeatable.")
@click.option("--token", "given", metavar="TOKEN", envvar="JWT", help="Use this token instead of making one. [JWT]")
@click.option("--jwt", "by_message", is_flag=True, help="Send the token in a message even if streams are named.")
@click.option(
    "--follow", "follows", is_flag=True, help="Connect again and resume when the connection ends, until Ctrl-C."
)
@click.option("--count", type=int, help="End after this number of events.")
@click.option("--seconds", type=float, help="End after this number of seconds.")
@token_options
def listen(
    url: str,
    streams: tuple[str, ...],
    given: str | None,
    by_message: bool,
    follows: bool,
    count: int | None,
    seconds: float | None,
    **options: Any,
) -> None:
    """Connect to URL, and print every frame exactly as it came, one a line; on a terminal with its time and colours.

    Without streams, it authenticates and receives the orders and trades of its member. With --stream, or with a Ranger
    URL (…/public, …/private, …?stream=NAME), it subscribes. It makes a token and sends it in the Authorization header
    only for private streams (no dot in the name), prefixed streams (two dots) and …/private. It always sends a
    token that you give.

    \b
      peatio-ws listen --stream btcusd.trades --stream btcusd.ob-inc
      peatio-ws listen ws://127.0.0.1:8080/private --stream order --uid ID1234567890

    \b
    Status: 0 ended by --count, --seconds or Ctrl-C; 1 no connection, or no answer; 3 not authenticated, or
    a stream was refused; 4 closed by the gateway.
    """
    target = ListenTarget(url, streams, by_message=by_message, count=count, seconds=seconds)

    def run(wanted: ListenTarget) -> ListenResult:
        return run_listener(wanted.with_token(_bearer(wanted, given, options)), _print, note)

    def note(text: str) -> None:
        click.echo(text, err=True)

    if target.speaks_ranger and not target.wanted:
        note("this URL subscribes to nothing; name streams with --stream")
    end = follow(target, run, note) if follows else run(target)
    if end.why:
        click.echo(end.why, err=True)
    sys.exit(end.status)


def _bearer(target: ListenTarget, given: str | None, options: dict[str, Any]) -> str | None:
    """Return the token to send: the given one, or a new one unless only public streams are wanted."""
    if given or not target.needs_token:
        return given or None
    if target.speaks_ranger and not target.by_message and not has_key(options["key"], options["algorithm"]):
        click.echo("connecting without a token: there is no key to make one", err=True)
        return None
    return make_token(**options)


def _print(frame: str) -> None:
    if not sys.stdout.isatty():
        try:
            print(frame, flush=True)
        except BrokenPipeError:  # the reader of the pipe has ended, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's flush at exit
            sys.exit(ENOUGH)
        return
    click.echo(click.style(datetime.now().astimezone().strftime("%H:%M:%S.%f")[:-3], dim=True) + " " + colored(frame))
