"""`publish`: publishes one message, or a file of messages, to the broker."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import click

from peatio_ws.cli import replay
from peatio_ws.errors import ConfigurationError
from peatio_ws.protocol.exchanges import ORDERBOOK, RANGER, TRADE
from peatio_ws.publisher import Publisher


@click.group(invoke_without_command=True)
@click.option(
    "--file",
    "path",
    metavar="FILE",
    type=click.Path(exists=True, allow_dash=True, dir_okay=False),
    help="Replay this file of messages; - is standard input.",
)
@click.option("--rate", metavar="N", type=click.FloatRange(min=0, min_open=True), help="Messages a second. [unlimited]")
@click.option(
    "--repeat", metavar="N", default=1, show_default=True, type=click.IntRange(min=0), help="Times; 0 until Ctrl-C."
)
@click.pass_context
def publish(context: click.Context, path: str | None, rate: float | None, repeat: int) -> None:
    """Publish one message to the broker, as Peatio does, or replay a file of them.

    Broker: AMQP_URL, or RABBITMQ_HOST, RABBITMQ_PORT, RABBITMQ_USER, RABBITMQ_PASSWORD, RABBITMQ_VHOST.

    \b
    Each line of a file is a message for peatio.events.ranger: routing key and JSON, as for Rango's inject-msg:
      public.btcusd.trades {"trades":[{"tid":7,"taker_type":"buy","price":"9120.5","amount":"0.1"}]}
      # a comment; the next body is sent byte for byte
      private.ID1234567890.order {"id": 22, "price": 9120.50}

    The file is checked before anything is published; a pipe is checked line by line. If the command ends with status 0,
    the broker has confirmed every message.
    """
    if context.invoked_subcommand is not None:
        if path is not None:
            raise click.UsageError(f"use either a file of messages or one {context.invoked_subcommand}, not both")
    elif path is None:
        raise click.UsageError("use either a command, for one message, or --file FILE, for many")
    else:
        with click.open_file(path, "rb") as file:
            _replay(file, rate, repeat)


def _replay(file: IO[bytes], rate: float | None, repeat: int) -> None:
    start = file.tell() if file.seekable() else None
    if start is not None:
        try:
            if not sum(1 for _ in replay.messages(file)):
                raise click.ClickException("the file contains no message")
        except ValueError as fault:
            raise click.ClickException(str(fault)) from None
    elif repeat != 1:
        raise click.UsageError("--repeat needs a file that can be read again, not a pipe")

    def source() -> Iterator[replay.RecordedEvent]:
        for _ in range(repeat) if repeat else itertools.count():
            if start is not None:
                file.seek(start)
            yield from replay.messages(file)

    publisher, progress = None, _Progress()
    try:
        with _publisher() as publisher:
            replay.replay(publisher, source(), rate, progress.show)
    except KeyboardInterrupt:
        if repeat:
            raise
    finally:
        if publisher is not None:
            progress.end(publisher.confirmed)


class _Progress:
    """The progress of a replay, on standard error: continuous on a terminal, else only the result."""

    def __init__(self) -> None:
        self._began, self._shown, self._terminal = time.monotonic(), 0.0, sys.stderr.isatty()

    def show(self, count: int) -> None:
        now = time.monotonic()
        if self._terminal and now - self._shown > 0.2:
            self._shown = now
            click.echo(f"\r\x1b[K{self._write(count)}", err=True, nl=False)

    def end(self, count: int) -> None:
        line_start = "\r\x1b[K" if self._terminal else ""
        click.echo(f"{line_start}published {self._write(count)} to {RANGER}", err=True)

    def _write(self, count: int) -> str:
        seconds = max(time.monotonic() - self._began, 0.001)
        return f"{count} messages in {seconds:.1f} s ({count / seconds:.0f} a second)"


def _decimal(_context: Any, _parameter: Any, value: str) -> Decimal:
    try:
        return Decimal(value)
    except ArithmeticError:
        raise click.BadParameter(f"{value} is not a number") from None


def _body(path: str | None, sample: dict[str, Any]) -> bytes:
    """Return the body to publish: the content of a file byte for byte (`-` is standard input), or the sample."""
    if path is None:
        return json.dumps(sample).encode()
    return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()


_file = click.option(
    "--file",
    "path",
    metavar="FILE",
    type=click.Path(exists=True, allow_dash=True, dir_okay=False),
    help="File with a body to use instead of the sample; - is standard input.",
)


@publish.command()
@click.option("--uid", required=True, help="The owner.")
@click.option("--side", default="buy", show_default=True, type=click.Choice(["buy", "sell"]))
@click.option("--price", default="9120.5", show_default=True, callback=_decimal)
@click.option("--volume", default="1.5", show_default=True, callback=_decimal)
@click.option("--market", default="btcusd", show_default=True)
@_file
def order(uid: str, side: str, price: Decimal, volume: Decimal, market: str, path: str | None) -> None:
    """Publish an order to peatio.orderbook."""
    sample = {
        "id": int(time.time() * 1000),
        "side": side,
        "ord_type": "limit",
        "price": str(price),
        "avg_price": "0.0",
        "state": "wait",
        "market_id": market,
        "created_at": _now(),
        "origin_volume": str(volume),
        "volume": str(volume),
        "trades_count": 0,
        "trades": [],
    }
    _publish(ORDERBOOK, "", {"uid": uid}, _body(path, sample))


@publish.command()
@click.option("--ask-uid", required=True, help="The seller.")
@click.option("--bid-uid", required=True, help="The buyer.")
@click.option("--price", default="9120.5", show_default=True, callback=_decimal)
@click.option("--volume", default="0.5", show_default=True, callback=_decimal)
@click.option("--market", default="btcusd", show_default=True)
@_file
def trade(ask_uid: str, bid_uid: str, price: Decimal, volume: Decimal, market: str, path: str | None) -> None:
    """Publish a trade between two members to peatio.trade."""
    number = int(time.time() * 1000)
    sample = {
        "id": number,
        "price": str(price),
        "volume": str(volume),
        "funds": f"{price * volume:f}",
        "market_id": market,
        "created_at": _now(),
        "ask_id": number + 1,
        "bid_id": number + 2,
    }
    _publish(TRADE, "", {"market": market, "ask_uid": ask_uid, "bid_uid": bid_uid}, _body(path, sample))


@publish.command()
@click.argument("routing_key")
@click.argument("body", required=False)
@_file
def event(routing_key: str, body: str | None, path: str | None) -> None:
    """Publish an event to peatio.events.ranger: private.UID.EVENT, public.MARKET.EVENT, global.EVENT, PREFIX.ID.EVENT.

    \b
      peatio-ws publish event private.ID1234567890.order '{"id":1,"side":"buy"}'
    """
    _publish(RANGER, routing_key, {}, body.encode() if body is not None else _body(path, {}))


def _publish(name: str, routing_key: str, headers: dict[str, Any], body: bytes) -> None:
    try:
        replay.check_event(name, routing_key, headers, body)
    except ValueError as fault:
        raise click.ClickException(f"not published: {fault}") from None
    with _publisher() as publisher:
        publisher.publish(name, routing_key, headers, body)
    click.echo(f"published {len(body)} bytes to {name}{' ' + routing_key if routing_key else ''}", err=True)


@contextlib.contextmanager
def _publisher() -> Iterator[Publisher]:
    """Open a connection to the broker that the environment names. ClickException if that fails."""
    try:
        settings = replay.broker(os.environ)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None
    if settings.embedded:
        raise click.ClickException("the in-process broker of `run` cannot be reached from here; set AMQP_URL")
    publisher = Publisher(";".join(settings.amqp_urls), settings.amqp_durable)
    try:
        with publisher:
            yield publisher
    except OSError as error:  # before ValueError: a refused certificate is both
        raise click.ClickException(publisher.explain(error)) from None
    except ValueError as fault:  # an invalid line of the replayed file
        raise click.ClickException(str(fault)) from None
    except Exception as error:
        raise click.ClickException(publisher.explain(error)) from None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
