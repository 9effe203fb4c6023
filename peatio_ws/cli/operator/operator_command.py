"""Shared by all commands that control gateways: the connection to Redis, the last line and the exit status."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Final, NoReturn

import click

from peatio_ws.cluster import operator
from peatio_ws.cluster.operator import CommandResult, NotFound, Operator, TooManyTraces, redis_url
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
        with operator.connected(redis_url(os.environ)) as connected:
            yield connected
    except (ConfigurationError, ValueError, ConnectionError, NotFound, TooManyTraces) as fault:
        raise click.ClickException(str(fault)) from None


def end(result: CommandResult, line: str) -> None:
    """Print the result, and exit with the status for it."""
    if not result.workers:
        no_gateway(f"{line}: no gateway received it")
    received_by = f"{counted(len(result.meant), 'worker')} of {counted(result.gateways, 'gateway')}"
    click.echo(f"{line}; received by {received_by}", err=True)
    if result.silent:
        click.echo(f"{counted(result.silent, 'worker')} did not answer", err=True)
        sys.exit(NOT_ALL)


def no_gateway(line: str) -> NoReturn:
    """Print why no gateway received the command, and exit with the status for it."""
    click.echo(line, err=True)
    sys.exit(NO_GATEWAY)


def counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
