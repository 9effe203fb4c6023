"""The simulated exchange's part of Peatio's REST API: `GET …/market/orders`, which clients read after a gap.

A WSGI application in front of another one. Below any prefix, as exchanges mount Peatio.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import parse_qs

from peatio_ws.auth.verifier import Verifier
from peatio_ws.errors import AuthenticationError
from peatio_ws.simulator.publications import MARKET

PATH: Final = "/market/orders"
STATES: Final = ("pending", "wait", "done", "cancel", "reject")
_LIMIT, _MOST = 100, 1000

WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Wrong(Exception):
    """A request that Peatio refuses: status and error code."""


class RestApi:
    """Answers requests for a member's orders, and passes all others on.

    Args:
        app: answers the other requests.
        verifier: for the token in `Authorization`.
        orders: returns the orders of a member (uid), the last changed one first, as Peatio shows them.
    """

    def __init__(self, app: WSGIApp, verifier: Verifier, orders: Callable[[str], list[dict[str, Any]]]) -> None:
        self._app, self._verifier, self._orders = app, verifier, orders

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """WSGI (PEP 3333)."""
        if environ["REQUEST_METHOD"] != "GET" or not environ.get("PATH_INFO", "").endswith(PATH):
            return self._app(environ, start_response)
        status = "200 OK"
        try:
            uid = self._uid(environ.get("HTTP_AUTHORIZATION", ""))
            answer: Any = _page(self._orders(uid), parse_qs(environ.get("QUERY_STRING", "")))
        except AuthenticationError:
            status, answer = "401 Unauthorized", {"errors": ["jwt.decode_and_verify"]}
        except _Wrong as wrong:
            status, answer = "422 Unprocessable Entity", {"errors": [str(wrong)]}
        body = json.dumps(answer).encode()
        headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
        start_response(status, [*headers, ("Content-Length", str(len(body)))])
        return [body]

    def _uid(self, authorization: str) -> str:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise AuthenticationError("no bearer token")
        return self._verifier.verify(token, time.time()).uid


def _page(orders: list[dict[str, Any]], query: dict[str, list[str]]) -> list[dict[str, Any]]:
    """Return the orders that a query asks for: `market`, `state`, `limit`, `page`. Raises _Wrong."""
    if query.get("market", [MARKET]) != [MARKET]:
        raise _Wrong("market.market.doesnt_exist")
    states = query.get("state", STATES)
    if not set(states) <= set(STATES):
        raise _Wrong("market.order.invalid_state")
    limit, page = _number(query, "limit", _LIMIT), _number(query, "page", 1)
    if limit > _MOST:
        raise _Wrong("market.order.invalid_limit")
    if page < 1:
        raise _Wrong("market.order.non_positive_page")
    found = [order for order in orders if order["state"] in states]
    return found[(page - 1) * limit : page * limit]


def _number(query: dict[str, list[str]], name: str, default: int) -> int:
    text = query.get(name, [str(default)])[-1]
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise _Wrong(f"market.order.non_integer_{name}")
    return int(text)
