"""The simulated exchange's part of Peatio's REST API: `GET …/market/orders`, `…/market/trades` and
`…/public/markets/<market>/trades`, which clients read at the start and after a gap; and `POST …/market/orders`,
`…/market/orders/<id>/cancel` and `…/market/orders/cancel`.

A WSGI application in front of another one. Below any prefix, as exchanges mount Peatio. Pages of `API_CORS_ORIGINS` can
send these requests and read the answers (Fetch, section 3.3). Pages of other origins cannot place orders: a browser
sends `Authorization` to another origin only after an answer to `OPTIONS` that allows it.
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
from peatio_ws.simulator.rest_body import RequestRefused, read_fields
from peatio_ws.simulator.rest_orders import is_order_request

PATH: Final = "/market/"
_is_public_trades = re.compile(r".*/public/markets/([^/]+)/trades", re.DOTALL).fullmatch
STATES: Final = ("pending", "wait", "done", "cancel", "reject")
_LIMIT, _MOST = 100, 1000

WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Rows = list[dict[str, Any]]
Query = dict[str, list[str]]
OrderRequest = Callable[[str, str, dict[str, Any]], Any]
"""Carries out a request to place or cancel orders, given the uid, the path after `/market/` and the fields of the body.
Raises RequestRefused."""


class RestApi:
    """Answers requests for orders and trades, and passes all others on.

    Args:
        app: answers the other requests.
        verifier: for the token in `Authorization`.
        orders: returns the orders of a member (uid), the last changed one first, as Peatio shows them.
        trades: returns the trades of a member, the latest first, as Peatio shows them.
        public_trades: returns the trades of the market, the latest first, as Peatio shows them.
        change: answers the POST requests.
        origins: entries of `API_CORS_ORIGINS`.
    """

    def __init__(
        self,
        app: WSGIApp,
        verifier: Verifier,
        orders: Callable[[str], Rows],
        trades: Callable[[str], Rows],
        public_trades: Callable[[], Rows],
        change: OrderRequest,
        origins: Sequence[str] = (),
    ) -> None:
        self._app, self._verifier, self._origins = app, verifier, origins
        self._pages: dict[str, Callable[[str, Query], Rows]] = {
            "orders": lambda uid, query: _orders(orders(uid), query),
            "trades": lambda uid, query: _trades(trades(uid), query),
        }
        self._public_trades, self._change = public_trades, change

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """WSGI (PEP 3333)."""
        answers, method = self._answers(environ.get("PATH_INFO", "")), environ["REQUEST_METHOD"]
        if method not in answers and not (answers and method == "OPTIONS"):
            return self._app(environ, start_response)
        cors = self._cors(environ)
        if method == "OPTIONS":
            start_response("204 No Content", cors)
            return []
        try:
            answer: Any = answers[method](environ)
            status = "201 Created" if method == "POST" else "200 OK"
        except AuthenticationError:
            status, answer = "401 Unauthorized", {"errors": ["jwt.decode_and_verify"]}
        except RequestRefused as refused:
            status, answer = refused.status, {"errors": [str(refused)]}
        body = json.dumps(answer).encode()
        headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
        start_response(status, [*headers, *cors, ("Content-Length", str(len(body)))])
        return [body]

    def _answers(self, path: str) -> dict[str, Callable[[dict[str, Any]], Any]]:
        """Return what answers a path, by method, given the WSGI environ; nothing for other paths."""
        if public := _is_public_trades(path):
            return {"GET": lambda environ: _market_trades(self._public_trades(), public[1], _query(environ))}
        name = path.rpartition(PATH)[2]
        answers: dict[str, Callable[[dict[str, Any]], Any]] = {}
        if rows := self._pages.get(name):
            answers["GET"] = lambda environ: rows(self._uid(environ), _query(environ))
        if is_order_request(name):  # `_uid` first: only members may send a body
            answers["POST"] = lambda environ: self._change(self._uid(environ), name, read_fields(environ))
        return answers

    def _cors(self, environ: dict[str, Any]) -> list[tuple[str, str]]:
        """Return the headers that let a page of an allowed origin send its token and read the answer."""
        origin = environ.get("HTTP_ORIGIN")
        headers = [("Vary", "Origin")]
        if origin is not None and is_allowed(origin, environ.get("HTTP_HOST", ""), self._origins):
            sent = ("Access-Control-Allow-Headers", "Authorization, Content-Type")
            headers += [("Access-Control-Allow-Origin", origin), sent]
        return headers

    def _uid(self, environ: dict[str, Any]) -> str:
        scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "bearer":
            raise AuthenticationError("no bearer token")
        return self._verifier.verify(token, time.time()).uid


def _query(environ: dict[str, Any]) -> Query:
    return parse_qs(environ.get("QUERY_STRING", ""))


def _orders(orders: Rows, query: Query) -> Rows:
    """Return the orders that a query asks for: `market`, `state`, `limit`, `page`. Raises RequestRefused."""
    states = query.get("state", STATES)
    if not set(states) <= set(STATES):
        raise RequestRefused("market.order.invalid_state")
    return _part([order for order in orders if order["state"] in states], query, "market.order")


def _trades(trades: Rows, query: Query) -> Rows:
    """Return the trades that a query asks for: `market`, `time_from`, `limit`, `page`. Raises RequestRefused."""
    since = _number(query, "time_from", 0, "market.trade")
    found = [trade for trade in trades if datetime.fromisoformat(trade["created_at"]).timestamp() >= since]
    return _part(found, query, "market.trade")


def _market_trades(trades: Rows, market: str, query: Query) -> Rows:
    """Return the latest trades of a market: `limit` of them. Raises RequestRefused."""
    if market != MARKET:
        raise RequestRefused("public.market.doesnt_exist")
    return trades[: _limit(query, "public.trade")]


def _part(found: Rows, query: Query, kind: str) -> Rows:
    """Return the page that a query asks for. Raises RequestRefused, with a code that begins with `kind`."""
    if query.get("market", [MARKET]) != [MARKET]:
        raise RequestRefused("market.market.doesnt_exist")
    limit, page = _limit(query, kind), _number(query, "page", 1, kind)
    if page < 1:
        raise RequestRefused(f"{kind}.non_positive_page")
    return found[(page - 1) * limit : page * limit]


def _limit(query: Query, kind: str) -> int:
    limit = _number(query, "limit", _LIMIT, kind)
    if limit > _MOST:
        raise RequestRefused(f"{kind}.invalid_limit")
    return limit


def _number(query: Query, name: str, default: int, kind: str) -> int:
    text = query.get(name, [str(default)])[-1]
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise RequestRefused(f"{kind}.non_integer_{name}")
    return int(text)
