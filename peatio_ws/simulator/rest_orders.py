"""Places and cancels orders of the simulated exchange for requests to its REST API, and answers as Peatio does.

Peatio answers before its matching engine has seen the request. So the answer to a new order has the state `pending`,
and the answer to a cancellation has the order as it was before. The events contain what happens then.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Final, Protocol

from peatio_ws.simulator.members import MemberOrder
from peatio_ws.simulator.order_form import InvalidOrder
from peatio_ws.simulator.publications import MARKET, rest_order
from peatio_ws.simulator.rest_body import RequestRefused

Row = dict[str, Any]

_is_number = re.compile(r"[0-9]{1,19}").fullmatch
_is_uuid = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE).fullmatch
_is_cancel = re.compile(r"orders/([^/]+)/cancel").fullmatch

_PLACE: Final = "orders"
_CANCEL_ALL: Final = "orders/cancel"


class Exchange(Protocol):
    """What this module needs of `SimulatedExchange`."""

    def place(self, uid: str, wanted: Mapping[str, Any]) -> int: ...

    def cancel(self, uid: str, number: object) -> None: ...

    def orders(self, uid: str) -> list[MemberOrder]: ...


def is_order_request(path: str) -> bool:
    """Return whether a path, without all up to `/market/`, is one of these requests."""
    return path in (_PLACE, _CANCEL_ALL) or _is_cancel(path) is not None


def answer(exchange: Exchange, uid: str, path: str, fields: Mapping[str, Any]) -> Row | list[Row]:
    """Carry out a request of a member.

    Args:
        path: one for which `is_order_request` is true.
        fields: of the body.

    Returns:
        The order, or the list of the orders that are being cancelled.

    Raises:
        RequestRefused: the fields are wrong, or the member has no such order.
    """
    if path == _PLACE:
        return _place(exchange, uid, fields)
    if path == _CANCEL_ALL:
        return _cancel_all(exchange, uid, fields)
    found = _is_cancel(path)
    assert found is not None
    return _cancel(exchange, uid, found[1])


def _place(exchange: Exchange, uid: str, fields: Mapping[str, Any]) -> Row:
    try:
        number = exchange.place(uid, fields)
    except InvalidOrder as wrong:
        raise RequestRefused(wrong.peatio_code) from None
    order, _ = _of(exchange, uid, number)
    placed = dataclasses.replace(order, volume=order.origin, funds=0, trades=0)
    return {**rest_order(MemberOrder(placed, order.created)), "state": "pending"}


def _cancel(exchange: Exchange, uid: str, name: str) -> Row:
    if not _is_number(name) and not _is_uuid(name):
        raise RequestRefused("market.order.invaild_id_or_uuid")  # as Peatio spells it
    found = _of(exchange, uid, int(name) if _is_number(name) else -1)  # no simulated order has a UUID
    if found.order.state == "wait":
        exchange.cancel(uid, found.order.id)
    return rest_order(found)


def _cancel_all(exchange: Exchange, uid: str, fields: Mapping[str, Any]) -> list[Row]:
    if fields.get("market", MARKET) != MARKET:
        raise RequestRefused("market.market.doesnt_exist")
    side = fields.get("side")
    if side not in (None, "", "sell", "buy"):
        raise RequestRefused("market.order.invalid_side")
    found = [one for one in exchange.orders(uid) if one.order.state == "wait" and side in (None, "", one.order.side)]
    for one in found:
        exchange.cancel(uid, one.order.id)
    return [rest_order(one) for one in found]


def _of(exchange: Exchange, uid: str, number: int) -> MemberOrder:
    for one in exchange.orders(uid):
        if one.order.id == number:
            return one
    raise RequestRefused("record.not_found", "404 Not Found")
