"""Publishes private events, public events and increments of a book at steady rates, over one connection like Peatio.

Does not depend on gateways. Events of a kind are evenly spaced. This is the most expensive case: events that are
published together are also read together.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from bench import publisher
from tests.support.followers import Market

MARKET: Final = "scale.ob"
TRADES, FEW, UNFOLLOWED = "scale.trades", "few.trades", "unfollowed.trades"
WIDE, WIDE_UNFOLLOWED = "scale.wide", "unfollowed.wide"
"""Streams with large events (`WIDE_BYTES`)."""
WIDE_BYTES: Final = 4096
LEVELS: Final = 200
"""Price levels on each side of the book."""
PRIVATE_BYTES: Final = len(publisher.body(publisher.stamp()))
_TRADE: Final = b'{"trades":[{"tid":%d,"taker_type":"buy","date":1712345678,"price":"9120.5","amount":"1.50000000"}]}'


def trade(number: int) -> bytes:
    """Return the body of a public trade."""
    return _TRADE % number


PUBLIC_BYTES: Final = len(trade(100_000))


class Rates(NamedTuple):
    """Events a second, by kind.

    Attributes:
        private, absent: private events of connected members, and of a member without a connection.
        public, few, unfollowed: trades of the streams `TRADES`, `FEW` and `UNFOLLOWED`.
        increments: increments of the book.
        wide, wide_unfollowed: large events of the streams `WIDE` and `WIDE_UNFOLLOWED`.
    """

    private: float = 0.0
    absent: float = 0.0
    public: float = 0.0
    few: float = 0.0
    unfollowed: float = 0.0
    increments: float = 0.0
    wide: float = 0.0
    wide_unfollowed: float = 0.0


class Traffic:
    """A publisher of all kinds of events.

    Args:
        url: the URL of the broker.
        uids: the members that private events are for, in turn.
        increments: the number of increments that the book has.
    """

    def __init__(self, url: str, uids: list[str], increments: int = 20_000) -> None:
        self._publisher = publisher.Publisher(url)
        self._market = Market(MARKET, increments, LEVELS)
        numbers, members, sequence = itertools.count(100_000), itertools.cycle(uids), iter(self._market.increments)
        wide = b'{"text":"%b"}' % (b"x" * (WIDE_BYTES - 11))
        message = self._publisher.message
        self._kinds: tuple[Callable[[], bytes], ...] = (
            lambda: message(f"private.{next(members)}.order", publisher.body(publisher.stamp())),
            lambda: message("private.ID9999999999.order", publisher.body(publisher.stamp())),
            lambda: message(f"public.{TRADES}", trade(next(numbers))),
            lambda: message(f"public.{FEW}", trade(next(numbers))),
            lambda: message(f"public.{UNFOLLOWED}", trade(next(numbers))),
            lambda: message(f"public.{MARKET}-inc", next(sequence)),
            lambda: message(f"public.{WIDE}", wide),
            lambda: message(f"public.{WIDE_UNFOLLOWED}", wide),
        )

    def close(self) -> None:
        """Close the connection."""
        self._publisher.close()

    def snapshot(self) -> None:
        """Publish the whole book. Workers apply increments only after it."""
        self._publisher.send(self._publisher.message(f"public.{MARKET}-snap", self._market.snapshots([0])[0]))

    def publish(self, rates: Rates, seconds: float) -> Rates:
        """Publish for some seconds. Return the number of published events of each kind."""
        begin, counts = time.monotonic(), [0] * len(rates)
        for due, kind in heapq.merge(*(_due(kind, rate, seconds) for kind, rate in enumerate(rates))):
            frames = self._kinds[kind]()
            ahead = begin + due - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
            self._publisher.send(frames)
            counts[kind] += 1
        rest = begin + seconds - time.monotonic()
        if rest > 0:
            time.sleep(rest)
        return Rates(*counts)


def _due(kind: int, rate: float, seconds: float) -> Iterator[tuple[float, int]]:
    """Yield the times of the events, in seconds from the start. Kinds with equal rates have different times."""
    for number in range(round(rate * seconds)):
        yield (number + (kind + 1) / 10) / rate, kind
