"""Reads what a client asks for when it places an order. Pure: knows neither the market nor the member."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from peatio_ws.errors import ClientError
from peatio_ws.simulator.matching import Side
from peatio_ws.simulator.publications import LOT, MARKET, TICK

MOST_PRICE: Final = Decimal(1_000_000)
MOST_VOLUME: Final = Decimal(1000)

_is_number = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?").fullmatch


class OrderForm(NamedTuple):
    """A valid order.

    Attributes:
        price: in ticks; None for a market order.
        volume: in lots.
    """

    side: Side
    price: int | None
    volume: int


def read_order(wanted: Mapping[str, Any]) -> OrderForm:
    """Return the order that a message describes.

    Args:
        wanted: `market`, `side` (`sell`, `buy`), `ord_type` (`limit`, the default, or `market`), `volume` and, for a
            limit order, `price`: numbers, or texts of numbers.

    Raises:
        ClientError: what is wrong with the order, in words for its sender.
    """
    if wanted.get("market") != MARKET:
        raise ClientError(f"market: the only market is {MARKET}")
    side, kind = wanted.get("side"), wanted.get("ord_type", "limit")
    if side not in ("sell", "buy"):
        raise ClientError("side: use sell or buy")
    if kind not in ("limit", "market"):
        raise ClientError("ord_type: use limit or market")
    volume = _steps_of(wanted, "volume", LOT, MOST_VOLUME)
    if kind == "market" and wanted.get("price") is not None:
        raise ClientError("price: a market order has none")
    price = _steps_of(wanted, "price", TICK, MOST_PRICE) if kind == "limit" else None
    return OrderForm(side, price, volume)


def _steps_of(wanted: Mapping[str, Any], name: str, step: Decimal, most: Decimal) -> int:
    """Return a positive number of whole steps. Raises ClientError."""
    value = wanted.get(name)
    if value is None:
        raise ClientError(f"{name}: is missing")
    text = str(value)
    if not isinstance(value, str | int | float) or not _is_number(text):
        raise ClientError(f"{name}: use a number, like 0.5")
    number = Decimal(text)
    if not 0 < number <= most:
        raise ClientError(f"{name}: must be more than 0 and at most {most}")
    if number % step:
        raise ClientError(f"{name}: must be a multiple of {step}")
    return int(number / step)
