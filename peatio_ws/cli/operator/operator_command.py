"""Shared by `who`, `disconnect`, `notice` and `drain`: the connection to Redis, the last line and the exit status."""

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

from peatio_ws.cluster.operator import CommandResult, Operator, redis_url
from peatio_ws.config.tls_errors import REDIS, tls_fault
from peatio_ws.errors import ConfigurationError

NO_GATEWAY: Final = 3
"""Exit status if no gateway received the command."""
NOT_ALL: Final = 4
"""Exit status if some workers did not answer."""
_HOW = """

    Every gateway with the same REDIS_URL receives it.

    \b
    Status: 0 done; 1 REDIS_URL missing or Redis unreachable; 3 no gateway received it; 4 a worker did not answer.
    """


def operator_command(function: Callable[..., None]) -> click.Command:
    function.__doc__ = (function.__doc__ or "").rstrip() + _HOW
    return click.command()(function)


@contextlib.contextmanager
def connected_operator() -> Iterator[Operator]:
    """Open a connection to the Redis of the gateways. ClickException if that fails."""
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
            f"Redis at {where} (REDIS_URL) did not accept the command: "
            f"{tls_fault(error, REDIS) or str(error) or type(error).__name__}"
        ) from None
    finally:
        operator.close()


def end(result: CommandResult, line: str) -> None:
    """Print the result, and exit with the status for it."""
    if not result.workers:
        click.echo(f"{line}: no gateway received it", err=True)
        sys.exit(NO_GATEWAY)
    answers = result.meant
    gateways = len({answer.place.gateway for answer in answers})
    received_by = f"{counted(len(answers), 'worker')} of {counted(gateways, 'gateway')}"
    click.echo(f"{line}; received by {received_by}", err=True)
    if result.silent:
        click.echo(f"{counted(result.silent, 'worker')} did not answer", err=True)
        sys.exit(NOT_ALL)


def counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def iso_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
