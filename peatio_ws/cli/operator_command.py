"""What `who`, `disconnect`, `notice` and `drain` have in common: the connection to Redis, the end and its status."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

import click
import redis

from peatio_ws.cli.operator import CommandResult, Operator, redis_url
from peatio_ws.config.tls_errors import REDIS, tls_fault
from peatio_ws.errors import ConfigurationError

NOBODY: Final = 3
"""Status of a command that no gateway heard."""
NOT_ALL: Final = 4
"""Status of one that not all workers answered."""
_HOW = """

    Every gateway hears it that has the same REDIS_URL.

    \b
    Status: 0 done; 1 no REDIS_URL, or no such Redis; 3 no gateway was there to hear it; 4 some worker did not answer.
    """


def operator_command(function: Callable[..., None]) -> click.Command:
    function.__doc__ = (function.__doc__ or "").rstrip() + _HOW
    return click.command()(function)


@contextlib.contextmanager
def connected_operator() -> Iterator[Operator]:
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


def end(result: CommandResult, line: str) -> None:
    """Say what came of it, and end with the status for that."""
    if not result.workers:
        click.echo(f"{line}: no gateway was there to hear it", err=True)
        sys.exit(NOBODY)
    answers = result.meant
    gateways = len({answer.place.gateway for answer in answers})
    heard_by = f"{counted(len(answers), 'worker')} of {counted(gateways, 'gateway')}"
    click.echo(f"{line}; heard by {heard_by}", err=True)
    if result.silent:
        click.echo(f"{counted(result.silent, 'worker')} did not answer", err=True)
        sys.exit(NOT_ALL)


def counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def iso_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
