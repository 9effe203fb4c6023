"""What the simulated exchange publishes is as docs/channels.md says, and what it answers over REST agrees."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection

from tests.support.asyncapi import EVENT, EVENTS, body
from tests.support.fork_server import PYTHON_CLIENT
from tests.support.gateway import ROOT, WAIT, GatewayProcess, receive

PERIODS = "1m 5m 15m 30m 1h 2h 4h 6h 12h 1d 3d 1w".split()
PYTHON_PATH = f"{PYTHON_CLIENT}:{ROOT}"
"""What a reader has installed."""
NOT_SIMULATED = {"<market>.update"}
ORDER = {"event": "place_order", "market": "btcusd", "side": "sell", "price": "20000", "volume": "0.5"}


@pytest.fixture(scope="module")
def simulated(folder: Path) -> Iterator[GatewayProcess]:
    """What `make run` serves."""
    process = GatewayProcess(folder, {}, command=("peatio_ws", "run", "--folder", str(folder / "run")))
    yield process
    process.stop()
    assert not process.tracebacks()


@pytest.fixture(scope="module")
def token(simulated: GatewayProcess) -> str:
    request = urllib.request.Request(f"http://127.0.0.1:{simulated.port}/console/session", method="POST")
    with urllib.request.urlopen(request, timeout=WAIT) as answer:
        return str(json.loads(answer.read())["token"])


def orders_over_rest(gateway: GatewayProcess, token: str, query: str = "") -> list[dict[str, Any]]:
    return over_rest(gateway, f"market/orders{query}", {"Authorization": f"Bearer {token}"})


def over_rest(gateway: GatewayProcess, path: str, headers: dict[str, str] | None = None) -> list[dict[str, Any]]:
    request = urllib.request.Request(f"http://127.0.0.1:{gateway.port}/api/v2/{path}", headers=headers or {})
    with urllib.request.urlopen(request, timeout=WAIT) as answer:
        found: list[dict[str, Any]] = json.loads(answer.read())
        return found


def test_every_event_of_the_simulated_exchange_is_valid(simulated: GatewayProcess, token: str) -> None:
    market = [f"btcusd.{name}" for name in ("trades", "ob-snap", "ob-inc", *(f"kline-{period}" for period in PERIODS))]
    streams = ["order", "trade", "balances", "deposit_address", "global.tickers", *market]
    path = f"private?stream={','.join(streams)}"
    with (
        simulated.connect(path, additional_headers={"Authorization": f"Bearer {token}"}) as ranger,
        simulated.member(token) as classic,
    ):
        seen = set[str]()
        ranger.send(json.dumps({**ORDER, "ord_type": "market", "price": None}))
        ranger.send(json.dumps({"event": "create_deposit_address", "currency": "btc"}))
        while not seen >= {*streams, "balances"}:
            seen.add(checked(receive(ranger)))
        while not seen >= {"orderbook"}:
            seen.add(checked(receive(classic)))
        while checked(receive(classic)) != "trade":
            pass
    known = {name for name in EVENTS["properties"] if name not in ("cursor", *NOT_SIMULATED)}
    assert known <= seen, "no stream of the schema is left out"


def checked(frame: dict[str, Any]) -> str:
    """Return the stream of a frame with an event; an empty text for the others. Raises ValidationError."""
    if "success" in frame:
        return ""
    EVENT.validate(frame)
    return next(iter(frame))


def test_orders_over_rest_are_those_of_the_stream(simulated: GatewayProcess, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    with simulated.connect("private?stream=order", additional_headers=headers) as client:
        client.send(json.dumps(ORDER))
        while (frame := receive(client)).get("order", {}).get("price") != "20000.0":
            pass
        order = frame["order"]
        shown = next(one for one in orders_over_rest(simulated, token, "?state=wait") if one["id"] == order["id"])
        same = (
            "id side ord_type price avg_price state market origin_volume remaining_volume executed_volume trades_count"
        )
        assert {name: shown[name] for name in same.split()} == {name: order[name] for name in same.split()}
        client.send(json.dumps({"event": "cancel_order", "id": order["id"]}))
        while receive(client).get("order", {}).get("state") != "cancel":
            pass
        shown = next(one for one in orders_over_rest(simulated, token) if one["id"] == order["id"])
        assert shown["state"] == "cancel"
        body("RestOrder").validate(shown)


def test_orders_are_placed_and_cancelled_over_rest(simulated: GatewayProcess, token: str) -> None:
    """By JSON and by form; the answer has the form of a row of `GET …/market/orders`, and the events follow."""
    headers = {"Authorization": f"Bearer {token}"}
    wanted = {"market": "btcusd", "side": "sell", "ord_type": "limit", "price": "21000", "volume": "0.5"}
    with simulated.connect("private?stream=order", additional_headers=headers) as client:
        for kind, sent in (
            ("application/json", json.dumps(wanted)),
            ("application/x-www-form-urlencoded", urllib.parse.urlencode(wanted)),
        ):
            status, order = post(simulated, "orders", sent, {**headers, "Content-Type": kind})
            assert (status, order["state"], order["price"]) == (201, "pending", "21000.0")
            body("RestOrder").validate(order)
            wait_for_state(client, order["id"], "wait")
            status, cancelled = post(simulated, f"orders/{order['id']}/cancel", "", headers)
            assert (status, cancelled["id"], cancelled["state"]) == (201, order["id"], "wait")
            wait_for_state(client, order["id"], "cancel")
    wrong = json.dumps({**wanted, "side": "ask"})
    as_json = {"Content-Type": "application/json"}
    assert post(simulated, "orders", wrong, headers | as_json) == (422, {"errors": ["market.order.invalid_side"]})
    assert post(simulated, "orders", wrong, as_json) == (401, {"errors": ["jwt.decode_and_verify"]})
    assert post(simulated, "orders/1/cancel", "", headers) == (404, {"errors": ["record.not_found"]})
    unreadable = {"errors": ["server.method.invalid_message_body"]}
    assert post(simulated, "orders", "x" * 20_000, headers | as_json) == (413, unreadable)


def post(gateway: GatewayProcess, path: str, sent: str, headers: dict[str, str]) -> tuple[int, Any]:
    """Return the status and the answer."""
    url = f"http://127.0.0.1:{gateway.port}/api/v2/market/{path}"
    request = urllib.request.Request(url, sent.encode(), headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=WAIT) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def wait_for_state(client: ClientConnection, number: int, state: str) -> None:
    wanted = {"id": number, "state": state}
    while (order := receive(client).get("order", {})) | wanted != order:
        pass


def test_trades_over_rest_are_those_of_the_streams(simulated: GatewayProcess, token: str) -> None:
    """A fill of the member, and the market's trade, from the second of the fill on, as after a gap."""
    headers = {"Authorization": f"Bearer {token}"}
    with simulated.connect("private?stream=trade,btcusd.trades", additional_headers=headers) as client:
        client.send(json.dumps({**ORDER, "ord_type": "market", "price": None}))
        fills, market = dict[int, Any](), dict[int, Any]()
        while not fills.keys() & market.keys():
            frame = receive(client)
            fills |= {one["id"]: one for one in [frame.get("trade")] if one}
            market |= {one["tid"]: one for one in frame.get("btcusd.trades", {}).get("trades", [])}
    (number, *_) = fills.keys() & market.keys()
    fill, since = fills[number], fills[number]["created_at"]
    shown = {one["id"]: one for one in over_rest(simulated, f"market/trades?time_from={since}", headers)}[number]
    body("RestTrade").validate(shown)
    same = "id price amount total market side taker_type order_id".split()
    assert [shown[name] for name in same if fill[name] is not None] == [
        fill[name] for name in same if fill[name] is not None
    ]
    public = {one["id"]: one for one in over_rest(simulated, "public/markets/btcusd/trades")}[number]
    body("RestPublicTrade").validate(public)
    assert (public["created_at"], public["taker_type"]) == (market[number]["date"], market[number]["taker_type"])
    assert [str(public[name]) for name in ("price", "amount")] == [market[number][name] for name in ("price", "amount")]
