"""Declares Peatio's exchanges and lists the bindings to them. Detects bindings that are lost.

An exchange that is deleted and declared again has lost its bindings. Its events go nowhere, without any error, and AMQP
has no request that lists bindings. So the gateway declares a *canary* next to a binding: an auto-delete exchange that
is bound to Peatio's exchange and carries no messages. RabbitMQ deletes a canary when its last binding is gone. As long
as the canary exists, Peatio's exchange and its bindings have existed without interruption.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import structlog
from amqp import spec
from amqp.exceptions import AccessRefused, AMQPError, NotFound, PreconditionFailed
from kombu import Connection

from peatio_ws.amqp.connection import is_embedded
from peatio_ws.protocol.exchanges import EXCHANGES, ORDERBOOK, RANGER, TRADE

log = structlog.get_logger("peatio_ws.amqp.topology")

Bindings = Sequence[tuple[str, str]]
"""Exchange and routing key of each binding of a queue."""
CLASSIC: Final[Bindings] = ((ORDERBOOK, ""), (TRADE, ""))
PRIVATE: Final[Bindings] = (*CLASSIC, (RANGER, "private.#"))


def public(prefixes: Iterable[str], books: Sequence[str] = ()) -> Bindings:
    """Return the bindings for public streams, and for streams with these prefixes.

    Args:
        books: names of books, to receive only their `-snap` and `-inc`; empty for all streams.
    """
    if not books:
        return [(RANGER, key) for key in every_public(prefixes)]
    names = [f"{book}-{half}" for book in books for half in ("snap", "inc")]
    places = ["global", "public.*", *(f"{prefix}.*" for prefix in prefixes)]
    return [(RANGER, f"{place}.{name}") for place in places for name in names]


def every_public(prefixes: Iterable[str]) -> tuple[str, ...]:
    """Return the routing keys of all public streams, and of all streams with these prefixes."""
    return tuple(f"{word}.#" for word in ("public", "global", *prefixes))


def exchanges_of(bindings: Bindings) -> list[str]:
    """Return the exchanges of these bindings, each once."""
    return list(dict.fromkeys(name for name, _ in bindings))


def declare_exchange(connection: Connection, name: str, durable: bool) -> bool:
    """Declare one of Peatio's exchanges.

    Args:
        durable: as the publishers declare it (`AMQP_EXCHANGES_DURABLE`). An existing exchange may differ.

    Returns:
        Whether the exchange is durable.

    Raises:
        PreconditionFailed: the exchange exists with another type. Other errors of py-amqp are possible.
    """
    kind = EXCHANGES[name]
    if is_embedded(connection):
        # kombu's memory:// has no headers exchange; without arguments, fanout is equivalent.
        connection.default_channel.exchange_declare(name, "fanout" if kind == "headers" else kind, durable=durable)
        return durable
    if is_accepted(connection, _declaration(name, kind, durable), PreconditionFailed):
        return durable
    attempt(connection, _declaration(name, kind, not durable))
    log.warning(
        "exchange differs from AMQP_EXCHANGES_DURABLE; using it as it is",
        exchange=name,
        exchange_is_durable=not durable,
    )
    return not durable


def _declaration(name: str, kind: str, durable: bool) -> Callable[[Any], object]:
    return lambda channel: channel.exchange_declare(name, kind, durable=durable, auto_delete=False)


def attempt(connection: Connection, action: Callable[[Any], object]) -> None:
    """Run an action on a separate channel, which the broker closes if it refuses. Raises what py-amqp raises."""
    channel = connection.channel()
    try:
        action(channel)
    except AMQPError:  # not after a timeout of the caller, because closing could wait without limit
        channel.close()
        raise
    channel.close()


def is_accepted(connection: Connection, action: Callable[[Any], object], refusal: type[AMQPError]) -> bool:
    """Run an action as `attempt` does. Return False if the broker refuses it with this error; raise all others."""
    try:
        attempt(connection, action)
    except refusal:
        return False
    return True


class Canaries:
    """The canaries next to the bindings of one queue.

    Args:
        prefix: prefix of their names.
        suffix: suffix of their names.
        durable: whether they survive a restart of the broker if the exchange does.
    """

    def __init__(self, prefix: str, suffix: str = "", durable: bool = False) -> None:
        self._prefix, self._suffix, self._durable = prefix, suffix, durable
        self._watched: list[str] = []
        self._channel: Any = None
        self._logged = False

    def name(self, exchange: str) -> str:
        """Return the name of an exchange's canary."""
        return f"{self._prefix}.{exchange}{self._suffix}"

    def exist(self, connection: Connection, exchanges: Iterable[str]) -> bool:
        """Return whether the canaries of all these exchanges exist."""

        def is_there(name: str) -> bool:
            return is_accepted(
                connection, lambda channel: channel.exchange_declare(name, "fanout", passive=True), NotFound
            )

        return all(is_there(self.name(exchange)) for exchange in exchanges)

    def declare(self, connection: Connection, exchanges: Iterable[tuple[str, bool]]) -> None:
        """Declare missing canaries, with names and durability of the exchanges.

        Call it before the queue is bound if nobody else declares canaries of these names: every deletion from then on
        is noticed. If workers share them, call it afterwards: for the others, a canary means that the queue is bound.
        """
        self._watched, self._channel = [], connection.default_channel
        if is_embedded(connection):
            return
        for exchange, durable in exchanges:
            name = self.name(exchange)
            declare = functools.partial(_declare_canary, name, self._durable and durable)
            try:
                if not is_accepted(
                    connection, declare, PreconditionFailed
                ):  # left over from an exchange with other durability
                    attempt(connection, functools.partial(_delete_exchange, name))
                    attempt(connection, declare)
                attempt(connection, functools.partial(_bind_canary, name, exchange))
            except AccessRefused:
                # An unbound canary exists as long as the broker runs, so it still reveals a restart of the broker.
                self._log_unwatched(exchange)
            else:
                self._watched.append(name)

    def check_bindings(self) -> None:
        """Check that the canaries exist, without waiting. If one is missing, the broker closes the channel with 404."""
        for name in self._watched:
            self._channel.exchange_declare(name, "fanout", passive=True, nowait=True)

    def _log_unwatched(self, exchange: str) -> None:
        if not self._logged:
            self._logged = True
            log.info(
                "cannot detect whether an exchange is deleted and declared again; "
                "allow the broker's user to write to Peatio's exchanges and to configure peatio_ws.*",
                exchange=exchange,
            )

    def forget(self) -> None:
        """Stop watching: the connection has ended."""
        self._watched, self._channel = [], None

    def remove(self, connection: Connection, exchanges: Iterable[str]) -> None:
        """Delete the canaries, so that the next worker that binds the queue notices that it was unbound."""
        for name in [self.name(exchange) for exchange in exchanges]:
            attempt(connection, functools.partial(_delete_exchange, name))


def _declare_canary(name: str, durable: bool, channel: Any) -> None:
    channel.exchange_declare(name, "fanout", durable=durable, auto_delete=True)


def _bind_canary(name: str, exchange: str, channel: Any) -> None:
    channel.exchange_bind(exchange, name, "")


def _delete_exchange(name: str, channel: Any) -> None:
    channel.exchange_delete(name)


def is_missing_canary(error: Exception) -> bool:
    """Return whether the broker closed a channel because a canary is missing."""
    return isinstance(error, NotFound) and error.method_sig == spec.Exchange.Declare
