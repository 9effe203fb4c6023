"""The ticker and the candles of the simulated market."""

from __future__ import annotations

from decimal import Decimal

import pytest

from peatio_ws.simulator.tape import TradeTape, plain

HOUR = 1_700_000_000 // 3600 * 3600


def test_a_candle_belongs_to_its_period() -> None:
    tape = TradeTape("100.0")
    assert list(tape.candles(HOUR)) == []
    tape.add("101.0", "1.0", "101.0", HOUR + 1)
    tape.add("99.0", "0.5", "49.5", HOUR + 59)
    tape.add("100.0", "0.25", "25.0", HOUR + 60)
    candles = dict(tape.candles(HOUR + 119))
    assert candles["1m"] == [HOUR + 60, 100.0, 100.0, 100.0, 100.0, 0.25]
    assert candles["5m"] == [HOUR, 101.0, 101.0, 99.0, 100.0, 1.75]
    assert list(candles) == "1m 5m 15m 30m 1h 2h 4h 6h 12h 1d 3d 1w".split()
    assert candles["1w"][0] % 604_800 == 0
    quiet = dict(tape.candles(HOUR + 120))
    assert quiet["1m"] == [HOUR + 120, 100.0, 100.0, 100.0, 100.0, 0.0]
    assert quiet["5m"] == candles["5m"]


def test_the_ticker_sums_up_all_trades() -> None:
    tape = TradeTape("100.0")
    quiet = tape.ticker(HOUR)
    assert (quiet["avg_price"], quiet["price_change_percent"], quiet["volume"]) == ("0.0", "+0.00%", "0.0")
    tape.add("99.0", "1.0", "99.0", HOUR)
    tape.add("98.5", "0.5", "49.25", HOUR)
    assert tape.ticker(HOUR + 0.7) == {
        "at": str(HOUR),
        "avg_price": "98.83",
        "high": "100.0",
        "last": "98.5",
        "low": "98.5",
        "open": "100.0",
        "price_change_percent": "-1.50%",
        "volume": "148.25",
        "amount": "1.5",
    }


@pytest.mark.parametrize(("number", "text"), [("0.00", "0.0"), ("1E+3", "1000.0"), ("1.50", "1.5"), ("2", "2.0")])
def test_numbers_are_written_without_an_exponent(number: str, text: str) -> None:
    assert plain(Decimal(number)) == text
