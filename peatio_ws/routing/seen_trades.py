"""The trades that a connection was sent, to tell one trade that comes by two exchanges from two trades (contract
section 3). A trade is its market and its id. Pure: the caller has the clock.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from peatio_ws.protocol.event_kinds import NULL, Trade

KEPT_SECONDS: Final = 60.0
"""A trade is remembered for at least this time, and for at most twice as long..."""
KEPT: Final = 4096
"""... unless this many others come sooner. Twice as many are kept at most."""


class Key(NamedTuple):
    """What tells a trade from all others, whichever way a publisher quotes it.

    Attributes:
        market: empty if the copy does not name it: it is then a copy of any trade with its id.
    """

    id: bytes
    market: bytes


def key_of(trade: Trade) -> Key:
    market = trade.market_id
    return Key(trade.id.strip(b'"'), b"" if market == NULL else market.strip(b'"'))


class SeenTrades:
    """The last trades of one connection, in two generations: the older one is forgotten as a whole."""

    __slots__ = ("_old", "_since", "_young")

    def __init__(self, now: float) -> None:
        self._since = now  # seconds of any clock
        # Each trade twice: with its market, and by its id alone for a copy that names no market.
        self._young: set[Key | bytes] = set()
        self._old: set[Key | bytes] = set()

    def add(self, key: Key, now: float) -> bool:
        """Remember a trade by its key. Return whether it is new."""
        if now - self._since >= KEPT_SECONDS or len(self._young) >= 2 * KEPT:
            self._old = self._young if now - self._since < 2 * KEPT_SECONDS else set()
            self._young, self._since = set(), now
        if self._has(key) or self._has(Key(key.id, b"")) or (not key.market and self._has(key.id)):
            return False
        self._young.add(key)
        self._young.add(key.id)
        return True

    def _has(self, key: Key | bytes) -> bool:
        return key in self._young or key in self._old
