"""The simulated exchange's part of Peatio's REST API, which clients read at the start and after a gap: `GET
…/market/orders`, `…/market/trades` and `…/public/markets/<market>/trades`.

A WSGI application in front of another one. Below any prefix, as exchanges mount Peatio. Pages of `API_CORS_ORIGINS` can
read its answers, too (Fetch, section 3.3).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qs

from peatio_ws.auth.verifier import Verifier
from peatio_ws.config.allowed_origins import is_allowed
from peatio_ws.errors import AuthenticationError
from peatio_ws.simulator.publications import MARKET

PATH: Final = "/market/"
_is_public_trades = re.compile(r".*/public/markets/([^/]+)/trades", re.DOTALL).fullmatch
STATES: Final = ("pending", "wait", "done", "cancel", "reject")
_LIMIT, _MOST = 100, 1000

WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Rows = list[dict[str, Any]]
Query = dict[str, list[str]]


class _Wrong(Exception):
    """A request that Peatio refuses: status and error code."""


class RestApi:
    """Answers requests for orders and trades, and passes all others on.

    Args:
        app: answers the other requests.
        verifier: for the token in `Authorization`.
        orders: returns the orders of a member (uid), the last changed one first, as Peatio shows them.
        trades: returns the trades of a member, the latest first, as Peatio shows them.
        public_trades: returns the trades of the market, the latest first, as Peatio shows them.
        origins: entries of `API_CORS_ORIGINS`.
    """

    def __init__(
        self,
        app: WSGIApp,
        verifier: Verifier,
        orders: Callable[[str], Rows],
        trades: Callable[[str], Rows],
        public_trades: Callable[[], Rows],
        origins: Sequence[str] = (),
    ) -> None:
        self._app, self._verifier, self._origins = app, verifier, origins
        self._pages: dict[str, Callable[[str, Query], Rows]] = {
            "orders": lambda uid, query: _orders(orders(uid), query),
            "trades": lambda uid, query: _trades(trades(uid), query),
        }
        self._public_trades = public_trades

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """WSGI (PEP 3333)."""
        page = self._page(environ.get("PATH_INFO", ""))
        if environ["REQUEST_METHOD"] not in ("GET", "OPTIONS") or page is None:
            return self._app(environ, start_response)
        cors = self._cors(environ)
        if environ["REQUEST_METHOD"] == "OPTIONS":
            start_response("204 No Content", cors)
            return []
        status = "200 OK"
        try:
            query = parse_qs(environ.get("QUERY_STRING", ""))
            answer: Any = page(environ.get("HTTP_AUTHORIZATION", ""), query)
        except AuthenticationError:
            status, answer = "401 Unauthorized", {"errors": ["jwt.decode_and_verify"]}
        except _Wrong as wrong:
            status, answer = "422 Unprocessable Entity", {"errors": [str(wrong)]}
        body = json.dumps(answer).encode()
        headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
        start_response(status, [*headers, *cors, ("Content-Length", str(len(body)))])
        return [body]

    def _page(self, path: str) -> Callable[[str, Query], Rows] | None:
        """Return what answers a path, given `Authorization` and the query; None for other paths."""
        if public := _is_public_trades(path):
            return lambda _, query: _market_trades(self._public_trades(), public[1], query)
        rows = self._pages.get(path.rpartition(PATH)[2])
        return None if rows is None else lambda authorization, query: rows(self._uid(authorization), query)

    def _cors(self, environ: dict[str, Any]) -> list[tuple[str, str]]:
        """Return the headers that let a page of an allowed origin send its token and read the answer."""
        origin = environ.get("HTTP_ORIGIN")
        headers = [("Vary", "Origin")]
        if origin is not None and is_allowed(origin, environ.get("HTTP_HOST", ""), self._origins):
            headers += [("Access-Control-Allow-Origin", origin), ("Access-Control-Allow-Headers", "Authorization")]
        return headers

    def _uid(self, authorization: str) -> str:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise AuthenticationError("no bearer token")
        return self._verifier.verify(token, time.time()).uid


def _orders(orders: Rows, query: Query) -> Rows:
    """Return the orders that a query asks for: `market`, `state`, `limit`, `page`. Raises _Wrong."""
    states = query.get("state", STATES)
    if not set(states) <= set(STATES):
        raise _Wrong("market.order.invalid_state")
    return _part([order for order in orders if order["state"] in states], query, "market.order")


def _trades(trades: Rows, query: Query) -> Rows:
    """Return the trades that a query asks for: `market`, `time_from`, `limit`, `page`. Raises _Wrong."""
    since = _number(query, "time_from", 0, "market.trade")
    found = [trade for trade in trades if datetime.fromisoformat(trade["created_at"]).timestamp() >= since]
    return _part(found, query, "market.trade")


def _market_trades(trades: Rows, market: str, query: Query) -> Rows:
    """Return the latest trades of a market: `limit` of them. Raises _Wrong."""
    if market != MARKET:
        raise _Wrong("public.market.doesnt_exist")
    return trades[: _limit(query, "public.trade")]


def _part(found: Rows, query: Query, kind: str) -> Rows:
    """Return the page that a query asks for. Raises _Wrong, with a code that begins with `kind`."""
    if query.get("market", [MARKET]) != [MARKET]:
        raise _Wrong("market.market.doesnt_exist")
    limit, page = _limit(query, kind), _number(query, "page", 1, kind)
    if page < 1:
        raise _Wrong(f"{kind}.non_positive_page")
    return found[(page - 1) * limit : page * limit]


def _limit(query: Query, kind: str) -> int:
    limit = _number(query, "limit", _LIMIT, kind)
    if limit > _MOST:
        raise _Wrong(f"{kind}.invalid_limit")
    return limit


def _number(query: Query, name: str, default: int, kind: str) -> int:
    text = query.get(name, [str(default)])[-1]
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise _Wrong(f"{kind}.non_integer_{name}")
    return int(text)
