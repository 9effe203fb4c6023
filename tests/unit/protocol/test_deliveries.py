"""Deliveries are read into events; invalid ones raise only BadDelivery."""

from __future__ import annotations

import decimal
import itertools
import json
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.errors import BadDelivery
from peatio_ws.protocol.deliveries import read
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.exchanges import ORDERBOOK, RANGER, TRADE, Delivery
from peatio_ws.protocol.private_events.base import PrivateEvent
from peatio_ws.protocol.private_events.kinds import PRIVATE_EVENTS
from peatio_ws.protocol.private_events.member_event import MemberEvent
from peatio_ws.protocol.private_events.order import Order, OrderFields, read_fields
from peatio_ws.protocol.private_events.trade import Party, Trade
from peatio_ws.protocol.public_events import BookChange, PublicEvent
from tests.unit.samples import as_body, on_orderbook, on_ranger, on_trade

ORDER = {"id": 7, "side": "sell", "price": "1.0"}
NUMBER_TEXTS = st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,20})?", fullmatch=True)


def order(delivery: Delivery) -> Order:
    event = read(delivery)
    assert isinstance(event, Order)
    return event


def says(delivery: Delivery) -> OrderFields:
    """Return an order's fields."""
    return read_fields(order(delivery))


def trade(delivery: Delivery) -> Trade:
    event = read(delivery)
    assert isinstance(event, Trade)
    return event


def reason(delivery: Delivery) -> str:
    with pytest.raises(BadDelivery) as caught:
        read(delivery)
    return caught.value.code.value


# ---- owners of orders

A, B, C = {"uid": "A"}, {"uid": "B"}, {"uid": "C"}


@pytest.mark.parametrize(
    ("headers", "body", "owner"),
    [
        ({"uid": "ID1"}, ORDER, "ID1"),
        ({"member_id": 5}, ORDER, 5),
        ({}, ORDER | {"uid": "ID1"}, "ID1"),
        ({}, ORDER | {"member_id": 5}, 5),
        ({}, {"action": "update", "order": ORDER | {"uid": "ID1"}}, "ID1"),
        ({}, {"action": "update", "order": ORDER | {"member_id": 5}}, 5),
        # The header takes precedence over the body, and the body over its order.
        (A, ORDER | B, "A"),
        (A, {"order": ORDER | C, **B}, "A"),
        ({}, {"order": ORDER | C, **B}, "B"),
        ({"member_id": 5}, ORDER | B, 5),
    ],
)
def test_owner_is_read_from_headers_body_or_order(
    headers: dict[str, Any], body: dict[str, Any], owner: str | int
) -> None:
    found = order(on_orderbook(body, **headers)).owners[0]
    assert (found, type(found)) == (owner, type(owner))


WHO = [
    ("uid", "ID1", "ID1"),
    ("uid", "4242", "4242"),
    ("uid", 4242, "4242"),
    ("member_id", 4242, 4242),
    ("member_id", "4242", 4242),
    ("member_id", "ID1", "ID1"),
    ("member_id", "42 42", "42 42"),
]


@pytest.mark.parametrize(("name", "value", "owner"), WHO)
def test_uid_and_member_id_are_never_confused(name: str, value: Any, owner: str | int) -> None:
    for event in (
        order(on_orderbook(ORDER, **{name: value})),
        order(on_orderbook({**ORDER, name: value})),
        order(on_orderbook({"order": {**ORDER, name: value}})),
        *trade(on_trade({"id": 1}, **{f"ask_{name}": value})).parties,
        *trade(on_trade({"id": 1, f"bid_{name}": value})).parties,
    ):
        found = event.owner if isinstance(event, Party) else event.owners[0]
        assert (found, type(found)) == (owner, type(owner))


NOBODY: list[Any] = [None, "", " ", [], ["x"], {}, {"a": 1}, True, False]


@pytest.mark.parametrize("value", NOBODY)
@pytest.mark.parametrize("name", ["uid", "member_id"])
def test_empty_or_unreadable_owner_fields_are_skipped(name: str, value: Any) -> None:
    assert order(on_orderbook(ORDER | {"uid": "ID1"}, **{name: value})).owners[0] == "ID1"
    expected = "no_owner" if value is None or not str(value).strip() else "owner"
    if expected == "no_owner":
        assert isinstance(read(on_orderbook({**ORDER, name: value})), BookChange)
        assert isinstance(read(on_orderbook(ORDER, **{name: value})), BookChange)
    else:
        assert reason(on_orderbook({**ORDER, name: value})) == "owner"
        assert reason(on_orderbook(ORDER, **{name: value})) == "owner"
    assert reason(on_trade({"id": 1, f"ask_{name}": value}, **{f"bid_{name}": value})) == expected


@pytest.mark.parametrize(
    "named",
    [
        {"uid": {"uid": "ID1", "email": "a@example.com"}},
        {"member_id": -1.5},
        {"member_id": [7]},
        {"member": {"uid": "ID1", "email": "a@example.com"}},
        {"UID": "ID1"},
        {"email": "a@example.com"},
        {"user": "ID1"},
    ],
)
def test_order_with_an_unreadable_owner_has_no_owner(named: dict[str, Any]) -> None:
    assert reason(on_orderbook(ORDER | named)) == "owner"
    assert reason(on_orderbook({"action": "add", "order": ORDER | named})) == "owner"
    assert reason(on_orderbook({"action": "add", "order": ORDER} | named)) == "owner"
    assert reason(on_orderbook(ORDER, **named)) == "owner"


def test_order_without_owner_is_a_public_book_change() -> None:
    body = b'{"action": "add","order":{"id":1,"type":"ask"}}'
    assert read(on_orderbook(body)) == BookChange(body)


# ---- owners of trades


@pytest.mark.parametrize(
    ("headers", "body", "owners"),
    [
        ({"ask_uid": "A", "bid_uid": "B"}, {}, {"ask": "A", "bid": "B"}),
        ({"ask_member_id": 1, "bid_member_id": 2}, {}, {"ask": 1, "bid": 2}),
        ({"ask_uid": "A", "bid_member_id": 2}, {}, {"ask": "A", "bid": 2}),
        ({}, {"ask_uid": "A", "bid_uid": "B"}, {"ask": "A", "bid": "B"}),
        ({}, {"ask_member_id": 1, "bid_member_id": 2}, {"ask": 1, "bid": 2}),
        # Each side separately: the body counts only for a side that the headers do not name.
        ({"ask_uid": "A"}, {"ask_uid": "X", "bid_uid": "B"}, {"ask": "A", "bid": "B"}),
        ({"bid_member_id": 2}, {"ask_member_id": 1, "bid_member_id": 9}, {"ask": 1, "bid": 2}),
        ({"ask_uid": "A"}, {}, {"ask": "A"}),
        ({"type": "local", "market": "btcusd"}, {"bid_member_id": 2}, {"bid": 2}),
        ({"ask_uid": "A", "bid_uid": "A"}, {}, {"ask": "A", "bid": "A"}),
    ],
)
def test_parties_are_read_from_headers_or_body(
    headers: dict[str, Any], body: dict[str, Any], owners: dict[str, Any]
) -> None:
    found = trade(on_trade({"id": 1, **body}, **headers))
    assert {party.side: party.owner for party in found.parties} == owners


def test_each_party_has_its_own_order() -> None:
    body = {"id": 1, "ask_id": 31, "bid_id": 32, "ask": {"id": 31, "price": "1"}, "bid": {"id": 32, "price": "2"}}
    ask, bid = trade(on_trade(body, ask_uid="A", bid_uid="B")).parties
    assert ask.order is not None
    assert bid.order is not None
    assert (ask.order_id, ask.order.owners[0], read_fields(ask.order).price) == (b"31", "A", b'"1"')
    assert (bid.order_id, bid.order.owners[0], read_fields(bid.order).price) == (b"32", "B", b'"2"')


def test_included_order_supplies_an_id_missing_in_the_trade() -> None:
    (party,) = trade(on_trade({"id": 1, "ask": {"id": 31}}, ask_uid="A")).parties
    assert party.order_id == b"31"


def test_party_without_an_order_has_its_order_id() -> None:
    (party,) = trade(on_trade({"id": 1, "ask_id": 31, "ask": None}, ask_uid="A")).parties
    assert (party.order_id, party.order) == (b"31", None)


def test_trade_without_owners_is_skipped() -> None:
    assert reason(on_trade({"id": 1, "ask_id": 31, "bid_id": 32})) == "no_owner"


@pytest.mark.parametrize(
    ("body", "side", "order_id"),
    [
        ({"kind": "ask", "ask_id": 61, "bid_id": 62}, "ask", b"61"),
        ({"kind": "bid", "ask_id": 61, "bid_id": 62}, "bid", b"62"),
        ({"kind": "bid", "ask_id": 61}, "bid", b"null"),
        ({"ask_id": 61, "bid_id": 62}, "", b"null"),
        ({"kind": "maker", "ask_id": 61, "bid_id": 62}, "", b"null"),
        ({"side": "sell", "kind": "bid", "ask_id": 61, "bid_id": 62}, "ask", b"61"),
        ({"side": "sell", "order_id": 7, "ask_id": 61, "bid_id": 62}, "ask", b"7"),
    ],
)
def test_private_trade_has_its_recipients_side_and_order(body: dict[str, Any], side: str, order_id: bytes) -> None:
    (party,) = trade(on_ranger("private.A.trade", {"id": 1, **body})).parties
    assert (party.owner, party.side, party.order_id) == ("A", side, order_id)


# ---- Peatio's names


@pytest.mark.parametrize(
    ("field", "names"),
    [
        ("market_id", ["market_id", "market"]),
        ("created_at", ["created_at", "at"]),
        ("remaining_volume", ["remaining_volume", "volume"]),
    ],
)
def test_an_order_is_understood_under_each_of_peatios_names(field: str, names: list[str]) -> None:
    for name in names:
        assert getattr(says(on_orderbook(ORDER | {name: 5}, uid="A")), field) == b"5"
        assert getattr(says(on_orderbook({**ORDER, **dict.fromkeys(names), name: 5}, uid="A")), field) == b"5"


@pytest.mark.parametrize("name", ["side", "kind", "type"])
@pytest.mark.parametrize(
    ("value", "side"),
    [("sell", "sell"), ("buy", "buy"), ("ask", "sell"), ("bid", "buy"), ("OrderAsk", "sell"), ("OrderBid", "buy")],
)
def test_side_is_normalized_to_sell_or_buy(name: str, value: str, side: str) -> None:
    assert says(on_orderbook({"id": 1, name: value}, uid="A")).side == json.dumps(side).encode()


@pytest.mark.parametrize(
    ("field", "names"),
    [
        ("market_id", ["market_id", "market"]),
        ("created_at", ["created_at", "at"]),
        ("volume", ["volume", "amount"]),
        ("funds", ["funds", "total"]),
    ],
)
def test_a_trade_is_understood_under_each_of_peatios_names(field: str, names: list[str]) -> None:
    for name in names:
        assert getattr(trade(on_trade({"id": 1, name: 5}, ask_uid="A")), field) == b"5"


@pytest.mark.parametrize(("value", "side"), [("sell", "ask"), ("ask", "ask"), ("buy", "bid"), ("bid", "bid")])
def test_the_side_of_a_private_trade_is_ask_or_bid(value: str, side: str) -> None:
    (party,) = trade(on_ranger("private.ID1.trade", {"id": 1, "side": value, "order_id": 5})).parties
    assert (party.owner, party.side, party.order_id) == ("ID1", side, b"5")


def test_missing_fields_are_null() -> None:
    found = says(on_orderbook({"id": 7}, uid="A"))
    fields = "side ord_type price avg_price state market_id created_at updated_at origin_volume trades_count".split()
    assert {getattr(found, field) for field in fields} == {b"null"}
    assert (found.trades, found.remaining_volume, found.executed_volume) == (b"[]", None, None)


# ---- digit for digit


@given(NUMBER_TEXTS, st.booleans())
def test_numbers_keep_their_text(number: str, quoted: bool) -> None:
    raw = f'"{number}"' if quoted else number
    body = f'{{"id":{raw},"price":{raw},"origin_volume":{raw},"avg_price":{raw},"uid":"A"}}'.encode()
    found, known = says(on_orderbook(body)), order(on_orderbook(body)).id
    assert {known, found.price, found.origin_volume, found.avg_price} == {raw.encode()}
    body = f'{{"id":{raw},"price":{raw},"volume":{raw},"funds":{raw},"ask_id":{raw},"ask_uid":"A"}}'.encode()
    event = trade(on_trade(body))
    assert {event.id, event.price, event.volume, event.funds, event.parties[0].order_id} == {raw.encode()}


@given(st.text(), st.booleans())
def test_texts_stay_unchanged(text: str, escaped: bool) -> None:
    raw = json.dumps(text, ensure_ascii=escaped).encode()
    found = order(on_orderbook(b'{"id":%b,"state":%b,"uid":"A"}' % (raw, raw)))
    assert (found.id, read_fields(found).state) == (raw, raw)


@given(st.binary(max_size=20) | st.sampled_from([b"1e5", b"1.0E-8", b"-0", b"1000.0", b"18446744073709551616"]))
def test_body_stays_unchanged(extra: bytes) -> None:
    body = b'{ "n" : 1000.0 ,"t":"%b"}' % extra
    try:
        json.loads(body.decode())  # with bytes it would accept half a surrogate pair
    except ValueError:
        assert reason(on_ranger("public.btcusd.trades", body)) == "json"
    else:
        assert read(on_ranger("public.btcusd.trades", body)) == PublicEvent("btcusd.trades", body)


# ---- the executed volume


@given(origin=NUMBER_TEXTS, remaining=NUMBER_TEXTS, quoted=st.tuples(st.booleans(), st.booleans()))
def test_the_executed_volume_is_exact(origin: str, remaining: str, quoted: tuple[bool, bool]) -> None:
    first, second = (f'"{text}"' if quote else text for text, quote in zip((origin, remaining), quoted, strict=True))
    found = says(on_orderbook(f'{{"id":1,"uid":"A","origin_volume":{first},"volume":{second}}}'.encode()))
    executed = found.executed_volume
    assert executed is not None
    assert found.remaining_volume == second.encode()
    with decimal.localcontext(prec=200):
        assert Decimal(executed.decode().strip('"')) == Decimal(origin) - Decimal(remaining)
    assert executed.startswith(b'"') is any(quoted)
    assert b"e" not in executed.lower()
    json.loads(executed)


def test_given_executed_volume_is_not_computed() -> None:
    body = {"id": 1, "origin_volume": "5.0", "volume": "2.0", "executed_volume": "2.50"}
    assert says(on_orderbook(body, uid="A")).executed_volume == b'"2.50"'


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"origin_volume": "1.0"},
        {"volume": "1.0"},
        {"origin_volume": None, "volume": "1.0"},
        {"origin_volume": "1.0", "volume": "some"},
        {"origin_volume": "1.0", "volume": [1]},
        {"origin_volume": "1.0", "volume": True},
        {"origin_volume": "1.0", "volume": "9" * 500},
        {"origin_volume": "NaN", "volume": "1.0"},
        {"origin_volume": f"{'9' * 64}e99", "volume": f"0.{'9' * 64}e-99"},
    ],
)
def test_unknown_executed_volume_is_null(body: dict[str, Any]) -> None:
    assert says(on_orderbook({"id": 1, **body}, uid="A")).executed_volume is None


# ---- trades of an order


def test_trades_of_an_order_do_not_reveal_the_other_party() -> None:
    row = {"id": 5, "price": "1.0", "ask_member_id": 1, "bid_member_id": 2, "ask_id": 8, "bid_id": 9, "ask_uid": "X"}
    found = says(on_orderbook({"id": 1, "trades": [row | {"fee": "1", "email": "a@b", "side": "sell"}]}, uid="A"))
    assert json.loads(found.trades) == [{"id": 5, "price": "1.0", "side": "sell"}]


@given(st.lists(NUMBER_TEXTS, max_size=4))
def test_numbers_of_an_orders_trades_keep_their_text(numbers: list[str]) -> None:
    raw = ",".join(f'{{"id":{number},"price":"{number}"}}' for number in numbers)
    body = f'{{"id":1,"uid":"A","trades":[{raw}]}}'.encode()
    assert says(on_orderbook(body)).trades == f"[{raw}]".encode()


@pytest.mark.parametrize("trades", [None, 0, "none", {}, [5], [{"id": 1}, "one"]])
def test_trades_that_are_not_a_list_are_ignored(trades: Any) -> None:
    assert says(on_orderbook({"id": 1, "trades": trades}, uid="A")).trades == b"[]"


# ---- the ranger exchange


@pytest.mark.parametrize(
    ("routing_key", "stream", "owner"),
    [
        ("private.ID1.deposit_address", "deposit_address", "ID1"),
        ("public.btcusd.trades", "btcusd.trades", None),
        ("public.btcusd.kline-15m", "btcusd.kline-15m", None),
        ("global.tickers", "global.tickers", None),
        ("admin.eurusd.sys", "admin.eurusd.sys", None),
    ],
)
def test_routing_key_names_the_stream_and_its_member(routing_key: str, stream: str, owner: str | None) -> None:
    assert read(on_ranger(routing_key, b"[ 1]")) == (
        MemberEvent(stream, b"[ 1]", owners=(owner,)) if owner else PublicEvent(stream, b"[ 1]")
    )


@pytest.mark.parametrize(
    "routing_key",
    ". .. nonsense private private. private.ID1 private.ID1. private..order public.btcusd public..trades global. a.b "
    "a.b.c.d private.a.b.order .b.c a..c ".split(" "),
)
def test_routing_key_of_another_form_is_dropped(routing_key: str) -> None:
    assert reason(on_ranger(routing_key, {"id": 1})) == "routing_key"


def test_a_private_order_and_trade_are_read_and_kept_verbatim() -> None:
    body = b'{ "id":7, "kind":"bid","market":"btcusd","origin_volume":"2.0","remaining_volume":"0.5"}'
    found = order(on_ranger("private.ID1.order", body))
    assert (found.owners[0], found.body, found.verbatim) == ("ID1", body, True)
    assert (read_fields(found).side, read_fields(found).executed_volume) == (b'"buy"', b'"1.5"')
    event = trade(on_ranger("private.ID1.trade", body))
    assert (event.verbatim, event.parties[0].owner, event.id) == (body, "ID1", b"7")


@pytest.mark.parametrize("name", ["order", "trade"])
@pytest.mark.parametrize("body", [b"[]", b"5", b"null", b"{}", b'{"id":null}', b'"text"'])
def test_other_private_body_is_an_ordinary_event(name: str, body: bytes) -> None:
    assert read(on_ranger(f"private.ID1.{name}", body)) == MemberEvent(name, body, owners=("ID1",))


def test_uid_is_read_from_the_routing_key_not_the_body() -> None:
    assert order(on_ranger("private.4242.order", {"id": 1, "uid": "B", "member_id": 5})).owners[0] == "4242"


# ---- unreadable messages

NO_JSON = [b"", b"{oops", b"\xff\x00", b'{"id":1}x', b'{"id":01}', b'{"id":1,"a":NaN}', b'{"id":1,"a":"\n"}', b"'a'"]
NO_JSON += [b'{"id":1,"a":"\xff"}', b'{"id":1,"a":"\xed\xa0\x80"}', b'{"a":' * 50_000]


@pytest.mark.parametrize("body", NO_JSON, ids="{!r:.20}".format)
def test_body_that_is_not_json_is_dropped(body: bytes) -> None:
    for delivery in (
        on_orderbook(body, uid="A"),
        on_trade(body, ask_uid="A"),
        on_ranger("private.A.order", body),
        on_ranger("private.A.other", body),
        on_ranger("public.btcusd.trades", body),
    ):
        assert reason(delivery) == "json"


@pytest.mark.parametrize(
    "body", [[1, 2, 3], "text", None, 5, {}, {"id": None}, {"id": {}}, {"order": 7}, {"order": []}]
)
def test_body_of_the_wrong_type_is_dropped(body: Any) -> None:
    assert reason(on_orderbook(body, uid="A")) == "shape"
    assert reason(on_trade({} if isinstance(body, dict) else body, ask_uid="A")) == "shape"


OTHER = "operators.own"
TO_ORDERBOOK: list[tuple[str, dict[str, Any], Any]] = [
    ("", {"uid": "A"}, ORDER),
    ("orders.updated", {"member_id": 5}, ORDER),
    ("public.btcusd.orders", {}, {**ORDER, "uid": "A"}),
    ("x", {"uid": "A"}, {"action": "update", "order": ORDER}),
]
TO_TRADE: list[tuple[str, dict[str, Any], Any]] = [
    ("", {"ask_uid": "A", "bid_member_id": 5}, {"id": 1}),
    ("public.btcusd.trades", {"ask_uid": "A"}, {"id": 1, "ask_id": 31}),
    ("x", {}, {"id": 1, "ask_id": 31, "ask_uid": "A"}),
]
TO_NOBODY: list[tuple[str, dict[str, Any], Any]] = [
    ("", {}, {}),
    ("", {}, [1]),
    ("", {}, ORDER),  # a public book change, or an order without its owner
    ("public.btcusd.trades", {}, {"trades": []}),
    ("", {}, {"action": "update", "order": ORDER}),
    ("", {"uid": "A", "ask_uid": "A"}, {"id": 1}),
    ("", {"uid": "A"}, {"id": 1, "ask_id": 31}),
    ("private.A.order", {"uid": "B"}, ORDER),
    ("private.A.order", {"uid": "A"}, ORDER),
    ("private.A.order", {}, {**ORDER, "uid": "B"}),
    ("private.A.trade", {"ask_uid": "B"}, {"id": 1}),
]


@pytest.mark.parametrize(("key", "headers", "body"), TO_ORDERBOOK)
def test_an_order_that_another_exchange_forwards_is_read_as_one(key: str, headers: dict[str, Any], body: Any) -> None:
    found = read(Delivery(OTHER, key, headers, as_body(body)))
    assert isinstance(found, Order)
    assert found == read(Delivery(ORDERBOOK, key, headers, as_body(body)))


@pytest.mark.parametrize(("key", "headers", "body"), TO_TRADE)
def test_a_trade_that_another_exchange_forwards_is_read_as_one(key: str, headers: dict[str, Any], body: Any) -> None:
    found = read(Delivery(OTHER, key, headers, as_body(body)))
    assert isinstance(found, Trade)
    assert found == read(Delivery(TRADE, key, headers, as_body(body)))


@pytest.mark.parametrize("body", [ORDER, {**ORDER, "uid": "A"}, {"id": 1, "ask_id": 31, "side": "sell"}, [1], "text"])
@pytest.mark.parametrize("name", ["order", "trade", "deposit_address"])
def test_forwarded_private_event_is_read_by_its_routing_key(name: str, body: Any) -> None:
    assert read(Delivery(OTHER, f"private.A.{name}", {}, as_body(body))) == read(on_ranger(f"private.A.{name}", body))


@pytest.mark.parametrize("key", ["public.btcusd.trades", "global.tickers", "admin.eurusd.sys"])
def test_forwarded_public_event_is_read_by_its_routing_key(key: str) -> None:
    for headers in ({}, {"uid": "A"}):
        body = as_body({"uid": "A", "id": 1})
        assert read(Delivery(OTHER, key, headers, body), public=True) == read(on_ranger(key, body))


@pytest.mark.parametrize(("key", "headers", "body"), TO_NOBODY)
def test_ambiguous_message_of_another_exchange_is_dropped(key: str, headers: dict[str, Any], body: Any) -> None:
    assert reason(Delivery(OTHER, key, headers, as_body(body))) == "exchange"


@pytest.mark.parametrize("public", [False, True])
def test_message_without_an_exchange_is_dropped(public: bool) -> None:
    """A user with write permission can publish directly to a queue."""
    for key in ("private.A.order", "public.a.b", ""):
        with pytest.raises(BadDelivery) as caught:
            read(Delivery("", key, {"uid": "A"}, as_body(ORDER)), public=public)
        assert caught.value.code.value == "exchange"


PRIVATE_KEYS = [f"private.A.{name}" for name in (*PRIVATE_EVENTS, "other")]
KEYS = st.sampled_from([*PRIVATE_KEYS, "public.a.b", "global.a", "x.y.z", "", "a"]) | st.text()
FIELDS = (
    "id uid member_id side kind type order ask bid ask_uid bid_member_id ask_id trades volume origin_volume at".split()
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6),
    max_leaves=15,
)
HEADERS = st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3)
BODIES = st.binary() | JSON.map(lambda value: json.dumps(value).encode())


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Return JSON with a few bytes changed, added or removed."""
    body = bytearray(draw(BODIES))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(body)))
        body[place : place + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(body)


def texts(event: PrivateEvent) -> list[bytes]:
    """Return the texts that all owners of an event receive, with every stream and in both protocols."""
    found, streams = list[bytes](), [*PRIVATE_EVENTS, "other"]
    for owner, dialect in itertools.product(event.owners, Dialect):
        recipient: Any = SimpleNamespace(dialect=dialect, streams=streams, uid=owner, member_id=owner)
        variant = event.variant(recipient, True)
        if variant is not None:
            found.append(event.encode(dialect, variant, lambda _number, _owner: None))
    return found


@given(
    exchange=st.sampled_from([ORDERBOOK, TRADE, RANGER, "other"]), key=KEYS, headers=HEADERS, body=BODIES | damaged()
)
def test_any_delivery_is_an_event_or_bad(exchange: str, key: str, headers: dict[str, Any], body: bytes) -> None:
    try:
        event = read(Delivery(exchange, key, headers, body))
    except BadDelivery as bad:
        known = bad.code.value in {"json", "shape", "owner", "no_owner", "routing_key", "exchange"}
    else:
        known = isinstance(event, PrivateEvent | PublicEvent | BookChange)
        json.loads(body)  # what is passed on has to be JSON
        for text in texts(event) if isinstance(event, PrivateEvent) else ():
            json.loads(text)
        assert exchange != "other" or not isinstance(event, BookChange)
    assert known


@pytest.mark.parametrize("name", ["uid", "member_id", "id", "origin_volume", "at"])
@pytest.mark.parametrize("value", [b"1" * 10_000, b"-" + b"1" * 10_000, b"1e999999999", b"0." + b"1" * 10_000])
def test_huge_numbers_are_harmless(name: str, value: bytes) -> None:
    body = b'{"id":1,"volume":1,"%b":%b}' % (name.encode(), value)
    for delivery in (on_orderbook(body), on_trade(body, ask_uid="A"), on_ranger("private.A.order", body)):
        try:
            event: Any = read(delivery)
        except BadDelivery as bad:
            event = bad
        assert event


def test_deeply_nested_json_is_dropped() -> None:
    for body in (b"[" * 1_000_000, b"[" * 1_000_000 + b"]" * 1_000_000, b'{"id":1,"x":' + b"[" * 1_000_000):
        for delivery in (on_orderbook(body, uid="A"), on_trade(body, ask_uid="A"), on_ranger("public.a.b", body)):
            assert reason(delivery) in ("json", "shape")


@pytest.mark.parametrize("empty", ["side", "kind"])
@pytest.mark.parametrize(("name", "value"), [("kind", "ask"), ("type", "OrderAsk")])
def test_null_side_is_read_from_the_other_field_names(empty: str, name: str, value: str) -> None:
    assert says(on_orderbook({"id": 1, empty: None, name: value}, uid="A")).side == b'"sell"'


@given(st.text(alphabet="0123456789", min_size=21, max_size=40))
def test_text_of_digits_is_never_a_uid_however_long(digits: str) -> None:
    try:
        event = read(on_orderbook(ORDER, member_id=digits))
    except BadDelivery:
        return
    assert not isinstance(event, Order) or isinstance(event.owners[0], int)


def test_an_executed_volume_is_exact_for_numbers_with_an_exponent() -> None:
    body = b'{"id":1,"uid":"A","origin_volume":1.0,"volume":1.0e-05}'
    assert says(on_orderbook(body)).executed_volume is not None
    assert Decimal((says(on_orderbook(body)).executed_volume or b"0").decode()) == Decimal("0.99999")
