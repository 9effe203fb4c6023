"""The commands that steer running gateways: `who`, `disconnect`, `notice`, `drain`."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import click
import redis

from peatio_ws.commanding import Heard, Operator, new_question, redis_url
from peatio_ws.errors import ConfigurationError
from peatio_ws.redis_steering import MOST_SECONDS
from peatio_ws.revocations import Revocation
from peatio_ws.steering import MOST_CHARACTERS, Connection, Disconnect, Drain, Notice, Who
from peatio_ws.tls_faults import REDIS, tls_fault

NOBODY: Final = 3
"""Status of a command that no gateway heard."""
NOT_ALL: Final = 4
"""Status of one that not all workers answered."""
DAY: Final = 86_400
_HOW = """

    Every gateway hears it that has the same REDIS_URL.

    \b
    Status: 0 done; 1 no REDIS_URL, or no such Redis; 3 no gateway was there to hear it; 4 some worker did not answer.
    """


def _command(function: Callable[..., None]) -> click.Command:
    function.__doc__ = (function.__doc__ or "").rstrip() + _HOW
    return click.command()(function)


@contextlib.contextmanager
def _operator() -> Iterator[Operator]:
    """A connection to the gateways' Redis; ClickException for what is wrong with it."""
    try:
        url = redis_url(os.environ)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None
    operator = Operator(url)
    try:
        yield operator
    except ValueError as fault:
        raise click.ClickException(str(fault)) from None
    except (redis.RedisError, OSError) as error:
        parts = urlsplit(url)
        where = f"{parts.hostname}:{parts.port or 6379}" if parts.hostname else parts.path
        raise click.ClickException(
            f"Redis at {where} (REDIS_URL) did not take it: "
            f"{tls_fault(error, REDIS) or str(error) or type(error).__name__}"
        ) from None
    finally:
        operator.close()


def _end(heard: Heard, line: str) -> None:
    """Say what came of it, and end with the status for that."""
    if not heard.workers:
        click.echo(f"{line}: no gateway was there to hear it", err=True)
        sys.exit(NOBODY)
    answers = heard.meant
    gateways = len({answer.place.gateway for answer in answers})
    heard_by = f"{_count(len(answers), 'worker')} of {_count(gateways, 'gateway')}"
    click.echo(f"{line}; heard by {heard_by}", err=True)
    if heard.silent:
        click.echo(f"{_count(heard.silent, 'worker')} did not answer", err=True)
        sys.exit(NOT_ALL)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


# ---- who


@_command
@click.argument("uid", required=False)
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each connection.")
def who(uid: str | None, as_json: bool) -> None:
    """Show the members who are online: how many connections each has, since when, and where.

    With a UID that member's connections one by one, with their ids in the gateways' log.
    """
    with _operator() as operator:
        heard = operator.tell(Who(new_question(), uid))
    found = sorted(heard.members, key=lambda one: (one.uid, one.since))
    if as_json:
        for one in found:
            click.echo(json.dumps(_as_json(one, heard)))
    elif uid is None:
        _table(("MEMBER", "CONNECTIONS", "SINCE", "WHERE"), _members(found, heard))
    else:
        rows = [(_moment(one.since), one.protocol, one.address, _worker(one, heard), one.id) for one in found]
        _table(("SINCE", "PROTOCOL", "ADDRESS", "WORKER", "CONNECTION"), rows)
    if uid is None:
        members = _count(len({one.uid for one in found}), "member")
        nobody = heard.connections - len(found)
        line = f"{members} with {_count(len(found), 'connection')}, {nobody} of nobody"
    else:
        line = f"{_count(len(found), 'connection')} of {uid}"
    _end(heard, line)


def _members(found: list[Connection], heard: Heard) -> list[tuple[str, ...]]:
    """A row for each member, who has been there longest first among its own."""
    rows: dict[str, list[Connection]] = {}
    for one in found:
        rows.setdefault(one.uid, []).append(one)
    return [
        (
            uid,
            str(len(own)),
            _moment(own[0].since),
            " ".join(sorted({heard.places[one.id].gateway for one in own})),
        )
        for uid, own in rows.items()
    ]


def _worker(one: Connection, heard: Heard) -> str:
    place = heard.places[one.id]
    return f"{place.gateway}/{place.worker}"


def _as_json(one: Connection, heard: Heard) -> dict[str, Any]:
    place = heard.places[one.id]
    return {
        "uid": one.uid,
        "connection": one.id,
        "protocol": one.protocol,
        "address": one.address,
        "since": _moment(one.since),
        "host": place.host,
        "gateway": place.gateway,
        "worker": place.worker,
    }


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    # What a client could choose, as an address that a proxy passes on, must not steer a terminal.
    shown = [tuple("".join(sign if sign.isprintable() else "?" for sign in cell) for cell in row) for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *shown, strict=True)]
    for row in (head, *shown) if shown else ():
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


# ---- disconnect


@_command
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
    with _operator() as operator:
        if revoked is not None and operator.room() < 1:
            raise click.ClickException("there are as many revocations as can be kept; nothing was done")
        heard = operator.tell(Disconnect(new_question(), uid, jti, revoked), revoked)
    if revoked is not None:
        which = f"the token {jti} of {uid}" if jti else f"tokens of {uid} issued until {_moment(now)}"
        click.echo(f"revoked: {which}; kept until {_moment(revoked.until)}", err=True)
    _end(heard, f"closed {_count(heard.connections, 'connection')} of {uid}")


# ---- notice


@_command
@click.argument("text")
@click.option("--uid", help="Only to this member.")
def notice(text: str, uid: str | None) -> None:
    """Send {"notice":{"message":TEXT}} to all clients that want to be told ("notices":true, ?notices=1)."""
    if not 0 < len(text) <= MOST_CHARACTERS:
        raise click.ClickException(f"a notice has 1 to {MOST_CHARACTERS} characters")
    with _operator() as operator:
        heard = operator.tell(Notice(new_question(), text, uid))
    _end(heard, f"told {_count(heard.connections, 'connection')}{f' of {uid}' if uid else ''}")


# ---- drain


@_command
@click.option("--host", "where", metavar="NAME", help="All gateways of this host, or one of them (host:port).")
@click.option("--all", "everywhere", is_flag=True, help="All gateways there are.")
@click.option("--undo", is_flag=True, help="Take clients again.")
def drain(where: str | None, everywhere: bool, undo: bool) -> None:
    """Empty gateways: they are not ready any more, refuse who comes (503), and tell who is there to go (1012).

    Nothing ends: a drained worker waits for TERM, or for --undo. One that starts (after HUP, a restart or a crash)
    takes clients. `who` tells the names of hosts, and how many are still there.
    """
    if (where is None) is not everywhere:
        raise click.UsageError("say which: --host NAME, or --all")
    with _operator() as operator:
        heard = operator.tell(Drain(new_question(), where, undo))
    if heard.workers and not heard.meant and not heard.silent:
        names = ", ".join(sorted({answer.place.gateway for answer in heard.answers}))
        click.echo(f"no gateway is called {where}; there are: {names}", err=True)
        sys.exit(NOBODY)
    _end(heard, "takes clients again" if undo else f"{_count(heard.connections, 'connection')} told to go")


COMMANDS: Final = (who, disconnect, notice, drain)
