"""The public trades of the simulated market, summed up: the ticker, and the current candle of each period.

Knows no clock and no broker. Values are written as Peatio 2.4 and later write them.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

_MINUTES: Final = {
    "1m": 1,
    "5m": 5,
    "15m": 15,
    "30m": 30,
    "1h": 60,
    "2h": 120,
    "4h": 240,
    "6h": 360,
    "12h": 720,
    "1d": 1440,
    "3d": 4320,
    "1w": 10_080,
}
"""Peatio's periods."""

Candle = list[float]
"""Start of the period in Unix seconds, open, high, low, close and volume."""


class TradeTape:
    """Sums up the trades since the start.

    Args:
        price: the opening price.
    """

    def __init__(self, price: str) -> None:
        self._open = self._last = self._low = self._high = Decimal(price)
        self._amount = self._funds = Decimal("0.0")
        self._candles: dict[str, Candle] = {}

    def add(self, price: str, volume: str, funds: str, now: float) -> None:
        self._last, amount = Decimal(price), Decimal(volume)
        self._low, self._high = min(self._low, self._last), max(self._high, self._last)
        self._amount, self._funds = self._amount + amount, self._funds + Decimal(funds)
        last = float(self._last)
        for period in _MINUTES:
            start, first, high, low, _, traded = self._candle(period, now, last)
            traded = round(traded + float(amount), 8)
            self._candles[period] = [start, first, max(high, last), min(low, last), last, traded]

    def candles(self, now: float) -> Iterator[tuple[str, Candle]]:
        """Yield each period with its current candle; none before the first trade. Without a trade in the period, the
        candle has the last price, and volume 0."""
        for period in self._candles:
            yield period, self._candle(period, now, float(self._last))

    def _candle(self, period: str, now: float, price: float) -> Candle:
        """Return the current candle, or a new one at this price."""
        seconds = _MINUTES[period] * 60
        start, candle = int(now) // seconds * seconds, self._candles.get(period, [])
        return candle if candle[:1] == [start] else [start, price, price, price, price, 0.0]

    def ticker(self, now: float) -> dict[str, str]:
        change = (self._last - self._open) / self._open * 100
        return {
            "at": str(int(now)),
            "avg_price": f"{self._funds / self._amount:.2f}" if self._amount else "0.0",
            "high": str(self._high),
            "last": str(self._last),
            "low": str(self._low),
            "open": str(self._open),
            "price_change_percent": f"{round(change, 2) + 0:+.2f}%",  # no -0.00
            "volume": plain(self._funds),
            "amount": plain(self._amount),
        }


def plain(number: Decimal) -> str:
    """Return all significant digits, without an exponent. A whole number keeps one digit after the point."""
    return f"{number:f}".rstrip("0") if number != number.to_integral() else f"{number.to_integral():f}.0"
