"""Publishes private events, public events and increments of a book at steady rates, as one connection of Peatio does.

Knows nothing of gateways. Events of one kind are evenly spaced, which costs the most: events that are published
together are read together.
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
"""Streams whose events have `WIDE_BYTES`."""
WIDE_BYTES: Final = 4096
LEVELS: Final = 200
"""Of each side of the book."""
PRIVATE_BYTES: Final = len(publisher.body(publisher.stamp()))
_TRADE: Final = b'{"trades":[{"tid":%d,"taker_type":"buy","date":1712345678,"price":"9120.5","amount":"1.50000000"}]}'


def trade(number: int) -> bytes:
    """Return a public trade."""
    return _TRADE % number


PUBLIC_BYTES: Final = len(trade(100_000))


class Rates(NamedTuple):
    """Events a second, by kind.

    Attributes:
        private, absent: private ones of members that are connected, and of others.
        public, few, unfollowed: trades of the streams of these names.
        increments: of the book.
        wide, wide_unfollowed: large ones of the streams of these names.
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
    """A publisher.

    Args:
        url: of the broker.
        uids: the members to whom private events belong, in turns.
        increments: how many increments the book has.
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
        """Publish the whole book, so that workers apply its increments."""
        self._publisher.send(self._publisher.message(f"public.{MARKET}-snap", self._market.snapshots([0])[0]))

    def publish(self, rates: Rates, seconds: float) -> Rates:
        """Publish for some seconds. Return how many events of each kind were published."""
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
    """Yield the seconds from the start at which events are due; kinds of one rate do not coincide."""
    for number in range(round(rate * seconds)):
        yield (number + (kind + 1) / 10) / rate, kind
