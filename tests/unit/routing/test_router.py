"""Recipients of private events: the router against a simple model."""

from __future__ import annotations

import json
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.cluster.local_state import RecentOrders
from peatio_ws.life_cycle import ImpossibleInput
from peatio_ws.monitoring import metrics
from peatio_ws.monitoring.counters import WorkerCounters
from peatio_ws.protocol.deliveries import read
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.exchanges import Delivery
from peatio_ws.protocol.private_events.order import Order
from peatio_ws.routing.history import Entry
from peatio_ws.routing.receiver import Receiver
from peatio_ws.routing.router import Router
from peatio_ws.transport.outbox import Outbox
from tests.unit import samples
from tests.unit.samples import Wire, on_orderbook, on_ranger, on_trade, texts_in


class Client:
    """A receiver in the model, with its socket."""

    def __init__(self, uid: str, member_id: int | None, dialect: Dialect = Dialect.CLASSIC) -> None:
        self.wire = Wire()
        self.streams: list[str] = []
        self.receiver = Receiver(Outbox(self.wire, 2**30, 3600.0), dialect, self.streams)  # type: ignore[arg-type]
        self.uid, self.member_id = uid, member_id
        self.trades: set[int] = set()

    def is_meant(self, owner: Any) -> bool:
        mine: Any = self.uid if isinstance(owner, str) else self.member_id
        return owner is not None and bool(mine == owner)

    def join(self, where: Router, *streams: str) -> None:
        self.receiver.admit(self.uid)
        self.receiver.member_id = self.member_id
        where.go_live(self.receiver)
        for stream in streams:
            self.streams.append(stream)
            where.subscribe(self.receiver, stream)

    def received(self) -> list[Any]:
        """Return the texts received since the last call."""
        frames = texts_in(self.wire.taken)
        self.wire.taken = b""
        return frames


def router(counters: WorkerCounters | None = None, **options: bool) -> Router:
    orders = RecentOrders()
    return samples.router(orders.recall, orders.remember, counters=counters, **options)


def connected(where: Router, *clients: Client) -> tuple[Client, ...]:
    for client in clients:
        client.join(where)
    return clients


def send(where: Router, *deliveries: Delivery) -> None:
    for delivery in deliveries:
        where.route(read(delivery))
    where.batch.flush()


# ---- the model

UIDS = st.sampled_from(["7", "42", "007", "ID7"])
MEMBER_IDS = st.sampled_from([7, 42, 0])
OWNERS = UIDS | MEMBER_IDS
STEPS = st.lists(
    st.tuples(st.just("join"), UIDS, MEMBER_IDS | st.none())
    | st.tuples(st.just("leave"), st.integers(0, 9), st.none())
    | st.tuples(st.just("order"), OWNERS, st.none())
    | st.tuples(st.just("trade"), OWNERS | st.none(), OWNERS | st.none())
    | st.tuples(st.just("flush"), st.none(), st.none()),
    min_size=8,
    max_size=40,
)


def named(side: str, owner: Any) -> dict[str, Any]:
    if owner is None:
        return {}
    return {f"{side}uid" if isinstance(owner, str) else f"{side}member_id": owner}


@given(STEPS, st.integers(1, 3))
def test_each_recipient_of_an_event_gets_exactly_one_copy(steps: list[tuple[Any, ...]], trade_ids: int) -> None:
    where = router()
    clients: list[Client] = []
    expected: dict[Client, list[Any]] = {}
    everybody: list[Client] = []
    for number, (step, first, second) in enumerate(steps):
        if step == "join":
            clients.append(Client(first, second))
            everybody.append(clients[-1])
            expected[clients[-1]] = []
            clients[-1].join(where)
        elif step == "leave" and clients:
            where.remove(clients.pop(first % len(clients)).receiver)
        elif step == "order":
            where.route(read(on_orderbook({"id": number}, **named("", first))))
            for client in clients:
                if client.is_meant(first):
                    expected[client].append(("orderbook", number, None))
        elif step == "trade" and (first, second) != (None, None):
            trade_id = number % trade_ids
            where.route(read(on_trade({"id": trade_id}, **named("ask_", first), **named("bid_", second))))
            for client in clients:
                sides = {(True, False): "ask", (False, True): "bid", (True, True): "both"}
                side = sides.get(
                    (first is not None and client.is_meant(first), second is not None and client.is_meant(second))
                )
                if side and trade_id not in client.trades:
                    client.trades.add(trade_id)
                    expected[client].append(("trade", trade_id, side))
        elif step == "flush":
            where.batch.flush()
    where.batch.flush()
    for client in everybody:
        got = [(kind, body["id"], body.get("side")) for frame in client.received() for kind, body in frame.items()]
        assert got == expected[client]
    for client in clients:
        where.remove(client.receiver)
    assert len(where) == 0


def test_member_id_zero_is_valid() -> None:
    where = router()
    zero, none = connected(where, Client("A", 0), Client("B", None))
    send(where, on_orderbook({"id": 1}, member_id=0))
    assert (len(zero.received()), none.received()) == (1, [])


def test_nothing_is_written_before_the_batch_is_routed() -> None:
    where = router()
    (ann,) = connected(where, Client("A", None))
    where.route(read(on_orderbook({"id": 1}, uid="A")))
    where.route(read(on_orderbook({"id": 2}, uid="A")))
    assert ann.received() == []
    where.batch.flush()
    assert [frame["orderbook"]["id"] for frame in ann.received()] == [1, 2]


def test_a_receiver_that_was_never_live_may_be_removed() -> None:
    where = router()
    ann, bob = Client("A", 1), Client("A", 1)
    connected(where, ann)
    where.remove(bob.receiver)
    send(where, on_orderbook({"id": 1}, uid="A"))
    assert len(ann.received()) == 1


def test_closed_client_does_not_delay_the_others() -> None:
    where = router()
    gone, here = connected(where, Client("A", None), Client("A", None))
    gone.receiver.outbox.close(1000)
    gone.wire.taken = b""
    send(where, on_orderbook({"id": 1}, uid="A"))
    assert gone.wire.taken == b""
    assert len(here.received()) == 1


# ---- trades

OWN = {"ask": {"id": 31, "price": "1.0"}, "bid": {"id": 32, "price": "2.0"}}


def test_each_side_receives_its_own_order_only() -> None:
    where = router()
    ann, bob, eve = connected(where, Client("A", 1), Client("B", 2), Client("E", 3))
    send(where, on_trade({"id": 5, "ask_id": 31, "bid_id": 32, **OWN}, ask_member_id=1, bid_member_id=2))
    (for_ann,), (for_bob,) = ann.received(), bob.received()
    assert (for_ann["trade"]["side"], for_ann["trade"]["order_id"], for_ann["trade"]["ask"]["id"]) == ("ask", 31, 31)
    assert (for_bob["trade"]["side"], for_bob["trade"]["order_id"], for_bob["trade"]["bid"]["id"]) == ("bid", 32, 32)
    assert "bid" not in for_ann["trade"]
    assert "ask" not in for_bob["trade"]
    assert eve.received() == []


@pytest.mark.parametrize("who", [{"ask_uid": "A", "bid_uid": "A"}, {"ask_uid": "A", "bid_member_id": 1}])
def test_a_trade_with_oneself_has_both_orders_and_the_id_of_the_ask(who: dict[str, Any]) -> None:
    where = router()
    (ann,) = connected(where, Client("A", 1))
    send(where, on_trade({"id": 5, "ask_id": 31, "bid_id": 32, **OWN}, **who))
    (frame,) = ann.received()
    assert (frame["trade"]["side"], frame["trade"]["order_id"]) == ("both", 31)
    assert (frame["trade"]["ask"]["id"], frame["trade"]["bid"]["id"]) == (31, 32)


def test_missing_order_of_a_trade_is_the_last_seen_or_its_id() -> None:
    where = router()
    ann, bob = connected(where, Client("A", 1), Client("B", 2))
    seen = [on_orderbook({"id": 31, "state": state}, uid="A") for state in ("wait", "done")]
    send(where, *seen, on_trade({"id": 5, "ask_id": 31, "bid_id": 32}, ask_member_id=1, bid_member_id=2))
    assert ann.received()[-1]["trade"]["ask"]["state"] == "done"
    assert bob.received()[-1]["trade"]["bid"] == {"id": 32}


def test_order_of_one_trade_is_known_at_the_next() -> None:
    where = router()
    (ann,) = connected(where, Client("A", 1))
    send(where, on_trade({"id": 5, "ask_id": 31, **OWN}, ask_uid="A"), on_trade({"id": 6, "ask_id": 31}, ask_uid="A"))
    assert [frame["trade"]["ask"]["price"] for frame in ann.received()] == ["1.0", "1.0"]


def test_order_seen_with_another_owner_is_not_shown() -> None:
    where = router()
    (bob,) = connected(where, Client("B", None))
    send(where, on_orderbook({"id": 31, "price": "1"}, uid="A"), on_trade({"id": 5, "ask_id": 31}, ask_uid="B"))
    assert bob.received()[0]["trade"]["ask"] == {"id": 31}


@pytest.mark.parametrize("turn", [1, -1])
@pytest.mark.parametrize("number", [501, "501"])
def test_trade_from_two_exchanges_is_routed_once(turn: int, number: Any) -> None:
    counters = WorkerCounters()
    where = router(counters)
    (ann,) = connected(where, Client("A", None))
    both = [on_trade({"id": 501}, ask_uid="A"), on_ranger("private.A.trade", {"id": number, "side": "sell"})]
    send(where, *both[::turn])
    assert len(ann.received()) == 1
    assert counters.count(metrics.events, "repeated").value == 1


def test_trades_of_one_id_in_two_markets_are_two_trades() -> None:
    counters = WorkerCounters()
    where = router(counters)
    ann, ranger = Client("A", None), Client("A", None, Dialect.RANGER)
    ann.join(where)
    ranger.join(where, "trade")
    copies = [
        delivery
        for market in ("eurusd", "btcusd")
        for delivery in (
            on_trade({"id": 7001, "market_id": market}, ask_uid="A"),
            on_ranger("private.A.trade", {"id": 7001, "market": market, "side": "sell"}),
        )
    ]
    send(where, *copies)
    assert [frame["trade"]["market_id"] for frame in ann.received()] == ["eurusd", "btcusd"]
    assert [frame["trade"]["market"] for frame in ranger.received()] == ["eurusd", "btcusd"]
    assert counters.count(metrics.events, "repeated").value == 4


@pytest.mark.parametrize("count", [300, 4000])
def test_many_trades_from_two_exchanges_are_routed_once(count: int) -> None:
    where = router()
    (ann,) = connected(where, Client("A", None))
    numbers = range(count)
    send(where, *(on_trade({"id": number, "market_id": "btcusd"}, ask_uid="A") for number in numbers))
    send(where, *(on_ranger("private.A.trade", {"id": number, "market": "btcusd"}) for number in numbers))
    assert [frame["trade"]["id"] for frame in ann.received()] == list(numbers)


@pytest.mark.parametrize("turn", [1, -1])
def test_ranger_client_receives_untranslated_trades_if_disabled(turn: int) -> None:
    orders = RecentOrders()
    where = samples.router(orders.recall, orders.remember, translates=False)
    ann, old = Client("A", None, Dialect.RANGER), Client("A", None)
    ann.join(where, "trade", "order")
    old.join(where)
    own = {"id": 5, "market": "btcusd", "side": "sell", "amount": "1.0"}
    copies = [on_trade({"id": 5, "market_id": "btcusd"}, ask_uid="A"), on_ranger("private.A.trade", own)]
    send(where, *copies[::turn], on_trade({"id": 6, "market_id": "btcusd"}, ask_uid="A"))
    assert ann.received() == [{"trade": own}]
    assert [frame["trade"]["id"] for frame in old.received()] == [5, 6]
    send(where, on_orderbook({"id": 7}, uid="A"))
    assert [frame["order"]["id"] for frame in ann.received()] == [7], "orders are always translated"


# ---- from the ranger exchange


@pytest.mark.parametrize(("kind", "side", "order_id"), [("ask", "ask", 61), ("bid", "bid", 62)])
def test_a_private_trade_of_peatio_2_has_its_side_and_order(kind: str, side: str, order_id: int) -> None:
    where = router()
    ann, ranger = Client("A", None), Client("A", None, Dialect.RANGER)
    ann.join(where)
    ranger.join(where, "trade")
    body = {"id": 8101, "kind": kind, "at": 1533117600, "price": "9.5", "volume": "2.0", "ask_id": 61, "bid_id": 62}
    body["market"] = "btcusd"
    send(where, on_orderbook({"id": order_id, "side": "sell", "price": "9.5"}, uid="A"))
    (known,) = ann.received()
    send(where, on_ranger("private.A.trade", body))
    (frame,) = ann.received()
    assert frame["trade"] == {
        "id": 8101,
        "price": "9.5",
        "volume": "2.0",
        "funds": None,
        "market_id": "btcusd",
        "created_at": "2018-08-01T10:00:00Z",
        "side": side,
        "order_id": order_id,
        side: known["orderbook"],
    }
    assert ranger.received() == [{"trade": body}]


def test_classic_session_receives_translated_orders_and_trades() -> None:
    where = router()
    ann, bob = connected(where, Client("A", 1), Client("B", 2))
    send(
        where,
        on_ranger("private.A.order", {"id": 71, "market": "btcusd", "kind": "ask"}),
        on_ranger("private.A.trade", {"id": 801, "amount": "1.0", "total": "9.5", "side": "sell", "order_id": 71}),
    )
    order, trade = ann.received()
    assert (order["orderbook"]["market_id"], order["orderbook"]["side"]) == ("btcusd", "sell")
    assert (trade["trade"]["volume"], trade["trade"]["side"]) == ("1.0", "ask")
    assert trade["trade"]["ask"] == order["orderbook"]
    assert bob.received() == []


@pytest.mark.parametrize("key", ["private.A.deposit_address", "public.btcusd.trades", "global.tickers", "admin.a.b"])
def test_classic_session_receives_no_unrequested_events(key: str) -> None:
    where = router()
    (ann,) = connected(where, Client("A", 1))
    send(where, on_ranger(key, {"id": 1}))
    assert ann.received() == []


def ranger(where: Router, *streams: str, uid: str = "A", member_id: int | None = 1) -> Client:
    client = Client(uid, member_id, Dialect.RANGER)
    client.join(where, *streams)
    return client


def test_ranger_session_gets_only_subscribed_private_streams() -> None:
    where = router()
    both, orders, none = ranger(where, "order", "trade", "deposit"), ranger(where, "order"), ranger(where)
    bob = ranger(where, "order", "trade", "deposit", uid="B", member_id=2)
    order, trade, deposit = {"id": 71, "z": 1.0}, {"id": 801, "side": "sell"}, [1, 2]
    send(
        where,
        on_ranger("private.A.order", order),
        on_ranger("private.A.trade", trade),
        on_ranger("private.A.deposit", deposit),
    )
    assert both.received() == [{"order": order}, {"trade": trade}, {"deposit": deposit}]
    assert orders.received() == [{"order": order}]
    assert none.received() == bob.received() == []


def test_classic_orders_and_trades_reach_ranger_under_ranger_names() -> None:
    where = router()
    ann, bob = ranger(where, "order", "trade"), ranger(where, "order", "trade", uid="B", member_id=2)
    send(
        where,
        on_orderbook({"id": 1, "side": "sell", "market_id": "btcusd", "volume": "0.5"}, uid="A"),
        on_trade({"id": 5, "volume": "0.5", "ask_id": 1, "bid_id": 2}, ask_member_id=1, bid_member_id=2),
    )
    order, trade = ann.received()
    assert (order["order"]["kind"], order["order"]["market"], order["order"]["remaining_volume"]) == (
        "ask",
        "btcusd",
        "0.5",
    )
    assert (trade["trade"]["side"], trade["trade"]["amount"], trade["trade"]["order_id"]) == ("sell", "0.5", 1)
    (trade,) = bob.received()
    assert (trade["trade"]["side"], trade["trade"]["order_id"]) == ("buy", 2)


def test_ranger_session_gets_a_trade_once() -> None:
    where = router()
    ann = ranger(where, "trade")
    send(where, on_ranger("private.A.trade", {"id": 501}), on_trade({"id": 501}, ask_uid="A"))
    assert ann.received() == [{"trade": {"id": 501}}]


def test_event_without_an_id_is_sent_to_ranger_sessions_only() -> None:
    where = router()
    (classic,) = connected(where, Client("A", 1))
    ann = ranger(where, "order")
    send(where, on_ranger("private.A.order", {"x": 1}))
    assert (ann.received(), classic.received()) == ([{"order": {"x": 1}}], [])


class Mortal(Outbox):
    """An object whose garbage collection can be observed."""


@pytest.mark.parametrize("how", ["book", "replay"])
def test_books_sent_on_request_leave_no_state_while_broker_is_silent(how: str) -> None:
    where = router()
    where.route(read(on_ranger("public.a.ob-snap", {"asks": [["1", "1"]], "bids": []})))
    where.batch.flush()
    outbox = Mortal(Wire(), 2**30, 3600.0)  # type: ignore[arg-type]
    gone = weakref.ref(outbox)
    receiver = Receiver(outbox, Dialect.RANGER, {"a.ob-inc": None, "order": None})
    receiver.admit("A")
    if how == "book":
        where.subscribe(receiver, "a.ob-inc")
    else:
        delivery = on_ranger("private.A.order", {"id": 1})
        where.replay(receiver, read(delivery), Entry(1, delivery, ("A",), 0.0))
    outbox.flush()
    assert outbox.sent
    where.remove(receiver)
    del outbox, receiver
    assert gone() is None


def test_removed_client_gets_no_further_events() -> None:
    where = router()
    ann = ranger(where, "order", "btcusd.trades", "btcusd.ob-inc")
    where.remove(ann.receiver)
    send(where, on_ranger("private.A.order", {"id": 1}), on_ranger("public.btcusd.trades", {}))
    send(where, on_ranger("public.btcusd.ob-snap", {"asks": []}))
    assert ann.received() == []
    assert len(where) == 0


# ---- changes of the public book


def test_book_change_without_broadcast_is_sent_to_no_client() -> None:
    where = router()
    (ann,) = connected(where, Client("A", 1))
    send(where, on_orderbook({"action": "add", "order": {"id": 1}}))
    assert ann.received() == []


def test_broadcast_book_change_reaches_every_classic_session_once() -> None:
    where = router(broadcast=True)
    clients = connected(where, Client("A", 1), Client("A", 1), Client("B", None))
    (other,) = connected(where, Client("A", 1, Dialect.RANGER))
    body = b'{ "action":"add","order":{"id":1.0}}'
    send(where, on_orderbook(body))
    for client in clients:
        assert client.wire.taken[2:] == b'{"orderbook":%b}' % body
    assert other.wire.taken == b""


# ---- what is counted


def test_outcome_of_an_event_is_counted() -> None:
    counters = WorkerCounters()
    where = router(counters)
    connected(where, Client("A", 1))
    send(where, on_orderbook({"id": 1}, uid="A"), on_orderbook({"id": 2}, uid="B"), on_trade({"id": 3}, bid_uid="A"))
    assert [counters.count(metrics.events, outcome).value for outcome in ("sent", "nobody")] == [2, 1]


def test_each_queued_frame_is_counted() -> None:
    counters = WorkerCounters()
    where = router(counters)
    ann, again, public = connected(where, Client("A", 1), Client("A", 1), Client(None, None, Dialect.RANGER))
    for stream in ("a.trades", "a.ob-inc", "b.other-inc"):
        public.streams.append(stream)
        where.subscribe(public.receiver, stream)
    send(where, on_orderbook({"id": 1}, uid="A"), on_orderbook({"id": 2}, uid="A"), on_orderbook({"id": 3}, uid="B"))
    send(where, on_ranger("public.a.trades", []), on_ranger("public.a.nobody", []))
    send(where, on_ranger("public.a.ob-snap", {"asks": [], "bids": []}), on_ranger("public.a.ob-inc", {"asks": []}))
    send(where, on_ranger("public.b.other-snap", 1), on_ranger("public.b.other-inc", 2))
    late = Client(None, None, Dialect.RANGER)
    for stream in ("a.ob-inc", "b.other-inc"):
        where.subscribe(late.receiver, stream)
    again.receiver.outbox.close(1012)
    send(where, on_orderbook({"id": 4}, uid="A"), on_orderbook({"id": 5}, uid="A"))
    where.subscribe(again.receiver, "a.ob-inc")
    for client in (public, late):
        client.receiver.outbox.flush()
    texts = (
        len(ann.received()) + len(public.received()) + len(late.received()) + 2
    )  # and two that were sent before closing
    assert counters.count(metrics.frames).value == texts == 4 + 5 + 3 + 2


def test_orders_are_remembered_without_connected_members() -> None:
    kept: list[Order] = []
    where = samples.router(lambda number, owner: None, kept.append)
    send(where, on_orderbook({"id": 1}, uid="A"), on_ranger("private.B.order", {"id": 2}))
    assert [json.loads(order.id) for order in kept] == [1, 2]


def test_a_receiver_goes_live_once() -> None:
    where = router()
    ann = Client("IDANN", 7)
    ann.join(where)
    with pytest.raises(ImpossibleInput):
        where.go_live(ann.receiver)
    send(where, on_orderbook({"id": 1}, uid="IDANN"))
    assert len(ann.received()) == 1
    where.remove(ann.receiver)
    assert len(where) == 0
