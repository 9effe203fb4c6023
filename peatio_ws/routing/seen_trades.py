"""The trades that a connection has received. They tell a trade that comes from two exchanges from two trades (contract
section 3). Pure: the caller has the clock.
"""

from __future__ import annotations

from typing import Final

from peatio_ws.protocol.private_events.base import TradeKey

KEPT_SECONDS: Final = 60.0
"""A trade is remembered for at least this time, and for at most twice as long..."""
KEPT: Final = 4096
"""... unless this many other trades come sooner. At most twice as many are kept."""


class SeenTrades:
    """The last trades of one connection, in two generations. The older one is forgotten as a whole."""

    __slots__ = ("_old", "_since", "_young")

    def __init__(self, now: float) -> None:
        self._since = now  # seconds of any clock
        # Each trade twice: with its market, and by its id alone for a copy that does not name the market.
        self._young: set[TradeKey | bytes] = set()
        self._old: set[TradeKey | bytes] = set()

    def add(self, key: TradeKey, now: float) -> bool:
        """Remember a trade by its key. Return whether it is new."""
        if now - self._since >= KEPT_SECONDS or len(self._young) >= 2 * KEPT:
            self._old = self._young if now - self._since < 2 * KEPT_SECONDS else set()
            self._young, self._since = set(), now
        if self._has(key) or self._has(TradeKey(key.id, b"")) or (not key.market and self._has(key.id)):
            return False
        self._young.add(key)
        self._young.add(key.id)
        return True

    def _has(self, key: TradeKey | bytes) -> bool:
        return key in self._young or key in self._old
