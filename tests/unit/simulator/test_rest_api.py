"""The simulated exchange's part of Peatio's REST API: which requests it answers, for whom, and with which status."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import pytest

from peatio_ws.auth.verifier import Verifier
from peatio_ws.simulator.rest_api import RestApi
from peatio_ws.simulator.rest_body import RequestRefused
from tests.unit.samples import claims, settings, sign

ORDERS = [{"id": number, "state": "wait" if number % 2 else "done"} for number in range(250, 0, -1)]
TRADES = [{"id": number, "created_at": f"2023-11-14T22:13:{number:02}Z"} for number in range(40, 0, -1)]
MARKET_TRADES = [{"id": number} for number in range(150, 0, -1)]
PUBLIC = "/api/v2/peatio/public/markets/btcusd/trades"
PAGE = "http://127.0.0.1:8000"
ALLOWED = {
    "Vary": "Origin",
    "Access-Control-Allow-Origin": PAGE,
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
}


def ask(
    query: str = "", path: str = "/api/v2/peatio/market/orders", method: str = "GET", **more: str
) -> tuple[str, Any]:
    """Return the status, and the answer as JSON."""
    status, _, body = answer(query, path, method, **more)
    return status, json.loads(body)


def answer(
    query: str = "", path: str = "/api/v2/peatio/market/orders", method: str = "GET", **more: str
) -> tuple[str, dict[str, str], bytes]:
    """Return the status, the headers and the body."""
    found: list[tuple[str, dict[str, str]]] = []

    def elsewhere(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("404 Not Found", [])
        return [b"{}"]

    def of_ann(rows: list[dict[str, Any]]) -> Any:
        return lambda uid: rows if uid == "ID1" else []

    def change(uid: str, name: str, fields: dict[str, Any]) -> Any:
        if uid == "ID1":
            return [uid, name, fields]
        raise RequestRefused("record.not_found", "404 Not Found")

    verifier = Verifier(settings().token_rules)
    api = RestApi(elsewhere, verifier, of_ann(ORDERS), of_ann(TRADES), lambda: MARKET_TRADES, change, [PAGE])
    sent = {"wsgi.input": io.BytesIO(b"side=sell"), "CONTENT_LENGTH": "9"}
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query, **sent, **more}
    body = api(environ, lambda status, headers, exc_info=None: found.append((status, dict(headers))))
    return *found[0], b"".join(body)


def token(**more: Any) -> dict[str, str]:
    now = int(time.time())
    return {"HTTP_AUTHORIZATION": f"Bearer {sign(claims(iat=now, exp=now + 60, **more))}"}


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", range(250, 150, -1)),
        ("market=btcusd&limit=3", [250, 249, 248]),
        ("limit=100&page=3", range(50, 0, -1)),
        ("state=wait&limit=2", [249, 247]),
        ("state=wait&state=done&limit=2", [250, 249]),
        ("state=cancel", []),
    ],
)
def test_a_member_gets_its_orders(query: str, ids: Any) -> None:
    status, orders = ask(query, **token())
    assert (status, [order["id"] for order in orders]) == ("200 OK", list(ids))


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", range(40, 0, -1)),
        ("market=btcusd&limit=3&page=2", [37, 36, 35]),
        ("time_from=1700000018", [40, 39, 38]),
    ],
)
def test_a_member_gets_its_trades(query: str, ids: Any) -> None:
    status, trades = ask(query, "/api/v2/market/trades", **token())
    assert (status, [trade["id"] for trade in trades]) == ("200 OK", list(ids))


@pytest.mark.parametrize(("query", "ids"), [("", range(150, 50, -1)), ("limit=2", [150, 149])])
def test_everyone_gets_the_trades_of_the_market(query: str, ids: Any) -> None:
    status, trades = ask(query, PUBLIC)
    assert (status, [trade["id"] for trade in trades]) == ("200 OK", list(ids))
    _, headers, _ = answer(query, PUBLIC, HTTP_ORIGIN=PAGE)
    assert headers == headers | ALLOWED


@pytest.mark.parametrize(
    ("path", "query", "error"),
    [
        (PUBLIC.replace("btc", "eth"), "", "public.market.doesnt_exist"),
        (PUBLIC, "limit=1001", "public.trade.invalid_limit"),
        (PUBLIC, "limit=many", "public.trade.non_integer_limit"),
    ],
)
def test_a_wrong_query_for_the_trades_of_a_market_has_its_codes(path: str, query: str, error: str) -> None:
    assert ask(query, path) == ("422 Unprocessable Entity", {"errors": [error]})


@pytest.mark.parametrize("kind", ["orders", "trades"])
def test_another_member_gets_its_own(kind: str) -> None:
    assert ask(path=f"/market/{kind}", **token(uid="ID2")) == ("200 OK", [])


@pytest.mark.parametrize(
    "authorization", [{}, {"HTTP_AUTHORIZATION": "Basic eDp5"}, {"HTTP_AUTHORIZATION": "Bearer x.y.z"}]
)
def test_without_a_valid_token_there_are_none(authorization: dict[str, str]) -> None:
    assert ask(**authorization) == ("401 Unauthorized", {"errors": ["jwt.decode_and_verify"]})


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("market=ethusd", "market.market.doesnt_exist"),
        ("state=open", "market.order.invalid_state"),
        ("limit=many", "market.order.non_integer_limit"),
        ("limit=1001", "market.order.invalid_limit"),
        ("page=0", "market.order.non_positive_page"),
    ],
)
def test_a_wrong_query_is_answered_with_peatios_code(query: str, error: str) -> None:
    assert ask(query, **token()) == ("422 Unprocessable Entity", {"errors": [error]})


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("market=ethusd", "market.market.doesnt_exist"),
        ("limit=1001", "market.trade.invalid_limit"),
        ("time_from=today", "market.trade.non_integer_time_from"),
    ],
)
def test_a_wrong_query_for_trades_has_codes_of_trades(query: str, error: str) -> None:
    assert ask(query, "/market/trades", **token()) == ("422 Unprocessable Entity", {"errors": [error]})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/market/trades"),
        ("POST", "/orders"),
        ("OPTIONS", "/"),
        ("GET", "/market/orders/5"),
        ("GET", "/market/orders/5/cancel"),
        ("GET", "/"),
    ],
)
def test_other_requests_are_passed_on(method: str, path: str) -> None:
    assert ask(path=path, method=method, **token()) == ("404 Not Found", {})


@pytest.mark.parametrize("name", ["orders", "orders/5/cancel", "orders/cancel"])
def test_members_place_and_cancel_orders(name: str) -> None:
    path = f"/api/v2/market/{name}"
    assert ask(path=path, method="POST", **token()) == ("201 Created", ["ID1", name, {"side": "sell"}])
    refused = ("404 Not Found", {"errors": ["record.not_found"]})
    assert ask(path=path, method="POST", **token(uid="ID2")) == refused
    assert ask(path=path, method="POST") == ("401 Unauthorized", {"errors": ["jwt.decode_and_verify"]})
    status, headers, _ = answer(path=path, method="OPTIONS", HTTP_ORIGIN=PAGE)
    assert (status, headers | ALLOWED) == ("204 No Content", headers)


@pytest.mark.parametrize(
    ("method", "status"), [("OPTIONS", "204 No Content"), ("GET", "401 Unauthorized"), ("POST", "401 Unauthorized")]
)
def test_pages_of_allowed_origins_can_ask_and_read_the_answer(method: str, status: str) -> None:
    found, headers, _ = answer(method=method, HTTP_ORIGIN=PAGE)
    assert (found, headers | ALLOWED) == (status, headers)
    _, headers, _ = answer(method=method, HTTP_ORIGIN="http://elsewhere.example")
    assert headers["Vary"] == "Origin"
    assert not [name for name in headers if name.startswith("Access-Control")]
