"""Every version of Peatio: each member receives its orders and trades once, in either protocol, and nothing is wrong.

Each case publishes 32 trades with everything that this version publishes about them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.gateway import GatewayProcess, Publisher, Signer, receive
from tests.support.peatio_versions import CREATED, CREATED_TEXT, VERSIONS, Deal, Member, later_side, messages

DEALS = 32
LAST = "last"
FAULTS = ("json", "shape", "owner", "routing_key", "exchange", "failed")
"""Outcomes of deliveries for which an alert fires."""


class Client:
    """A member's connection, and what it received."""

    def __init__(self, connection: Any, member: Member, side: str) -> None:
        self.connection, self.member, self.side = connection, member, side
        self.orders, self.trades = list[Any](), list[Any]()

    def read(self) -> None:
        """Read until the order that was published last."""
        while True:
            frame = receive(self.connection)
            name, body = next(iter(frame.items()))
            if body["id"] == LAST:
                return
            (self.trades if name == "trade" else self.orders).append(body)


@contextlib.contextmanager
def clients(
    gateway: GatewayProcess, signer: Signer, seller: Member, buyer: Member, known: bool
) -> Iterator[tuple[list[Client], list[Client]]]:
    """Connect a classic and a ranger client of each member."""
    with contextlib.ExitStack() as stack:
        classic, ranger = list[Client](), list[Client]()
        for member, side in ((seller, "ask"), (buyer, "bid")):
            token = signer.token(member.uid, **({"member_id": member.id} if known else {}))
            classic.append(Client(stack.enter_context(gateway.member(token)), member, side))
            headers = {"Authorization": f"Bearer {token}"}
            path = "private?stream=order&stream=trade"
            connection = stack.enter_context(gateway.connect(path, additional_headers=headers))
            assert receive(connection)["success"]["streams"] == ["order", "trade"]
            ranger.append(Client(connection, member, side))
        yield classic, ranger


@pytest.mark.parametrize("known", [True, False], ids=["member-id-known", "member-id-unknown"])
@pytest.mark.parametrize("version", VERSIONS)
def test_each_member_receives_its_orders_and_trades_once(
    gateway: GatewayProcess, signer: Signer, publisher: Publisher, version: str, known: bool
) -> None:
    case = VERSIONS.index(version) * 2 + known
    seller, buyer = (Member(f"IDV{case:02}{number}", 1000 + case * 10 + number) for number in (1, 2))
    deals = [Deal(1000 * case + number, seller, buyer) for number in range(DEALS)]
    private = version >= "1.9"
    faults, lines = deliveries(gateway, *FAULTS), len(gateway.events())
    with clients(gateway, signer, seller, buyer, known) as (classic, ranger):
        for deal in deals:
            for message in messages(version, deal):
                publisher.publish(message.exchange, message.kind, message.body, message.routing_key, message.headers)
        for member in (seller, buyer):
            publisher.event(f"private.{member.uid}.order", {"id": LAST})
        for client in (*classic, *ranger):
            client.read()
            own = [deal.ask if client.side == "ask" else deal.bid for deal in deals]
            assert [order["id"] for order in client.orders] == (own if private else [])
            assert [trade["id"] for trade in client.trades] == [deal.number for deal in deals if private or known]
        for client in classic:
            for trade, deal in zip(client.trades, deals, strict=private or known):
                assert_classic(trade, deal, client.side)
            assert {(order["side"], order["state"]) for order in client.orders} <= {(later_side(client.side), "done")}
        for client in ranger:
            published = [body for deal in deals for body in private_bodies(version, deal, client.member, "order")]
            assert client.orders == published
            if known and version < "2.3":
                # Translated from `peatio.trade`, which is published first.
                for trade, deal in zip(client.trades, deals, strict=True):
                    assert_later_form(trade, deal, client.side)
            else:
                published = [body for deal in deals for body in private_bodies(version, deal, client.member, "trade")]
                assert client.trades == published
    assert deliveries(gateway, *FAULTS) == faults
    assert [event for event in gateway.events()[lines:] if event["level"] not in ("debug", "info")] == []


def deliveries(gateway: GatewayProcess, *outcomes: str) -> dict[str, float]:
    return {outcome: gateway.total("peatio_ws_deliveries_total", f'outcome="{outcome}"') for outcome in outcomes}


def private_bodies(version: str, deal: Deal, member: Member, event: str) -> list[Any]:
    """Return the bodies that a version publishes for a member."""
    key = f"private.{member.uid}.{event}"
    return [message.body for message in messages(version, deal) if message.routing_key == key]


def assert_classic(trade: dict[str, Any], deal: Deal, side: str) -> None:
    """Assert that a trade has the classic form, and names only the receiver's order."""
    number = deal.ask if side == "ask" else deal.bid
    assert trade.pop(side)["id"] == number
    assert trade.pop("funds") in (None, "18241.0")  # a private trade before 2.3 has none
    assert trade.pop("created_at") in (CREATED_TEXT, CREATED_TEXT.replace(".000", ""))
    values = {"id": deal.number, "price": "9120.5", "volume": "2.0", "market_id": "btcusd"}
    assert trade == {**values, "side": side, "order_id": number}


def assert_later_form(trade: dict[str, Any], deal: Deal, side: str) -> None:
    """Assert that a trade has the form of Peatio 2.3. Earlier versions do not name the taker's side."""
    values = {"id": deal.number, "price": "9120.5", "amount": "2.0", "total": "18241.0", "market": "btcusd"}
    number = deal.ask if side == "ask" else deal.bid
    sides = {"side": later_side(side), "taker_type": None}
    assert trade == {**values, **sides, "created_at": CREATED, "order_id": number}
