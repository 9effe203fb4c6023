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


class InvalidOrder(ClientError):
    """An order that the simulated exchange refuses.

    Args:
        text: what is wrong, in words for its sender.

    Attributes:
        peatio_code: Peatio's name for it, in an answer of the REST API.
    """

    def __init__(self, text: str, peatio_code: str) -> None:
        super().__init__(text)
        self.peatio_code = peatio_code


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
        InvalidOrder: the first fault.
    """
    if (market := wanted.get("market")) != MARKET:
        code = "market.order.missing_market" if market is None else "market.market.doesnt_exist_or_not_enabled"
        raise InvalidOrder(f"market: the only market is {MARKET}", code)
    side, kind = wanted.get("side"), wanted.get("ord_type", "limit")
    if side not in ("sell", "buy"):
        raise InvalidOrder("side: use sell or buy", f"market.order.{'missing' if side is None else 'invalid'}_side")
    if kind not in ("limit", "market"):
        raise InvalidOrder("ord_type: use limit or market", "market.order.invalid_type")
    volume = _steps_of(wanted, "volume", LOT, MOST_VOLUME)
    if kind == "market" and wanted.get("price") is not None:
        raise InvalidOrder("price: a market order has none", "market.order.market_order_price")
    price = _steps_of(wanted, "price", TICK, MOST_PRICE) if kind == "limit" else None
    return OrderForm(side, price, volume)


def _steps_of(wanted: Mapping[str, Any], name: str, step: Decimal, most: Decimal) -> int:
    """Return a positive number of whole steps. Raises InvalidOrder."""
    value = wanted.get(name)
    if value is None:
        raise InvalidOrder(f"{name}: is missing", f"market.order.missing_{name}")
    text = str(value)
    if not isinstance(value, str | int | float) or not _is_number(text):
        kind = "non_positive" if _is_number(text.removeprefix("-")) else "non_decimal"
        raise InvalidOrder(f"{name}: use a number, like 0.5", f"market.order.{kind}_{name}")
    number = Decimal(text)
    if not 0 < number <= most:
        code = "market.order.invalid_volume_or_price" if number else f"market.order.non_positive_{name}"
        raise InvalidOrder(f"{name}: must be more than 0 and at most {most}", code)
    if number % step:
        raise InvalidOrder(f"{name}: must be a multiple of {step}", "market.order.invalid_volume_or_price")
    return int(number / step)
