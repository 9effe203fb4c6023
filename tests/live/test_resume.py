"""Resuming: missed events in order and once, then live events, or a notice that events may be missing."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from websockets.sync.client import ClientConnection

from tests.support.gateway import GatewayProcess, Publisher, Signer, authenticate, receive, resume
from tests.support.servers import RabbitMQ, wait_until

Start = Callable[..., GatewayProcess]


def orders(client: ClientConnection, count: int) -> list[tuple[int, str]]:
    """Return ids and cursors of the next orders."""
    frames = [receive(client) for _ in range(count)]
    return [(frame["orderbook"]["id"], frame["cursor"]) for frame in frames]


@pytest.fixture(scope="module", params=["stream", "worker"])
def history_gateway(
    request: pytest.FixtureRequest, folder: Path, broker: RabbitMQ, signer: Signer
) -> Iterator[GatewayProcess]:
    """A gateway with each kind of history."""
    environ = {"AMQP_URL": broker.url, **signer.environ, "AMQP_HISTORY": request.param}
    process = GatewayProcess(folder, environ)
    yield process
    process.stop()


def test_missed_events_come_in_order_before_newer_ones(
    history_gateway: GatewayProcess, signer: Signer, publisher: Publisher
) -> None:
    token, other = signer.token("IDBACK"), signer.token("IDELSE")
    with history_gateway.connect() as client:
        assert resume(client, token)["complete"] is True
        publisher.order("IDBACK", 1)
        ((_, cursor),) = orders(client, 1)
    with history_gateway.member(other) as witness:
        for number in range(2, 5):
            publisher.order("IDBACK", number)
            publisher.order("IDELSE", number)
        assert [receive(witness)["orderbook"]["id"] for _ in range(3)] == [2, 3, 4]
    with history_gateway.connect() as client:
        assert resume(client, token, cursor) == {"cursor": cursor, "complete": True}
        publisher.order("IDBACK", 5)
        got = orders(client, 4)
        assert [number for number, _ in got] == [2, 3, 4, 5]
        assert len({cursor for _, cursor in got}) == 4


def test_clients_that_do_not_resume_see_no_change(
    history_gateway: GatewayProcess, signer: Signer, publisher: Publisher
) -> None:
    with history_gateway.connect() as resuming, history_gateway.member(signer.token("IDPLAIN")) as plain:
        resume(resuming, signer.token("IDPLAIN"))
        publisher.order("IDPLAIN", 1)
        assert receive(plain).keys() == {"orderbook"}
        assert receive(resuming).keys() == {"orderbook", "cursor"}


@pytest.mark.parametrize(
    "cursor", ["", "x", "s.5.00000000", "s.ffffffff.00000000", "s.0.", "A" * 5000, "s.1.0000000g", "w.1.00000000"]
)
def test_invalid_cursor_is_answered_as_incomplete(history_gateway: GatewayProcess, signer: Signer, cursor: str) -> None:
    with history_gateway.connect() as client:
        answer = resume(client, signer.token("IDFORGED"), cursor or "-")
        assert answer["complete"] is False
        assert answer["cursor"] != cursor


def test_cursor_of_another_member_is_treated_as_forged(
    history_gateway: GatewayProcess, signer: Signer, publisher: Publisher
) -> None:
    with history_gateway.connect() as ann:
        resume(ann, signer.token("IDANN"))
        publisher.order("IDANN", 1)
        ((_, cursor),) = orders(ann, 1)
        publisher.order("IDANN", 2)
        publisher.order("IDBOB", 3)
        orders(ann, 1)
        answers = []
        for no_good in (cursor, "A" * len(cursor)):
            with history_gateway.connect() as bob:
                answer = resume(bob, signer.token("IDBOB"), no_good)
                answers.append({**answer, "cursor": len(answer["cursor"])})
                publisher.order("IDBOB", 4)
                assert [number for number, _ in orders(bob, 1)] == [4], "an event was replayed"
        assert answers == [{"cursor": len(cursor), "complete": False}] * 2
        publisher.order("IDANN", 5)
        assert [number for number, _ in orders(ann, 1)] == [5]
    with history_gateway.connect() as ann:
        assert resume(ann, signer.token("IDANN"), cursor)["complete"] is True, (
            "the cursor is not valid for its own member"
        )


def test_cursors_reveal_nothing_about_other_members_trades(
    history_gateway: GatewayProcess, signer: Signer, fast_publisher: Publisher
) -> None:
    """The rest of a trade is public. A checksum in cursors would reveal its members to clients that guess them."""

    def fresh_cursors() -> list[str]:
        found = []
        for uid in ("IDEVE", "IDMAL"):
            with history_gateway.connect() as client:
                found.append(resume(client, signer.token(uid))["cursor"])
        return found

    count, members = 2000, [f"ID{number:03}" for number in range(100)]
    pairs = [(ask, bid) for ask in members for bid in members]
    trade = {"market": "btcusd", "price": "9120.5", "ask_id": 1, "bid_id": 2}
    before = fresh_cursors()
    with history_gateway.member(signer.token("ID042")) as witness:
        for number in range(count):
            ask, bid = pairs[number * 4242 % len(pairs)] if number < count - 1 else ("ID042", "ID017")
            last = {"id": number, **trade, "ask_uid": ask, "bid_uid": bid}
            fast_publisher.trade(last)
        assert any(receive(witness)["trade"]["id"] == count - 1 for _ in range(count))
    after = fresh_cursors()
    guesses = [json.dumps({**last, "ask_uid": ask, "bid_uid": bid}).encode() for ask, bid in pairs]
    sums = [f"{zlib.crc32(guess):08x}" for guess in guesses]
    revealed = [guess for guess, checksum in zip(guesses, sums, strict=True) if any(checksum in one for one in after)]
    assert revealed == [], "a cursor contains a checksum of the trade"
    assert len({len(one) for one in before + after}) == 1
    assert len(set(before + after)) == 4, "two cursors are equal"


def test_cursor_is_valid_at_other_gateways_and_after_restarts(
    start: Start, signer: Signer, publisher: Publisher
) -> None:
    """The key of cursors is in the stream: it is not configured, and Redis is not used."""
    token = signer.token("IDMOVES")
    first, second = start(), start()
    with first.connect() as client:
        cursor = resume(client, token)["cursor"]
        publisher.order("IDMOVES", 1)
        orders(client, 1)
    for gateway in (second, first):
        with gateway.connect() as client:
            assert resume(client, token, cursor) == {"cursor": cursor, "complete": True}
            assert [number for number, _ in orders(client, 1)] == [1]
            publisher.order("IDMOVES", 2)
            ((_, latest),) = orders(client, 1)
        with first.connect() as client:
            assert resume(client, token, latest)["complete"] is True, (
                "a gateway does not accept another gateway's cursor"
            )
        cursor = latest
        publisher.order("IDMOVES", 1)
    first.stop()
    second.restart()
    second.wait_ready()
    with second.connect() as client:
        assert resume(client, token, cursor)["complete"] is True
        assert [number for number, _ in orders(client, 1)] == [1]


def test_two_connections_may_resume_from_one_cursor(
    history_gateway: GatewayProcess, signer: Signer, publisher: Publisher
) -> None:
    token = signer.token("IDTWICE", member_id=77)
    with history_gateway.connect() as client:
        cursor = resume(client, token)["cursor"]
    publisher.trade({"id": 1, "ask_id": 1, "bid_id": 2}, ask_uid="IDTWICE", bid_member_id=77)
    publisher.event("private.IDTWICE.trade", {"id": 1, "side": "sell"})
    with history_gateway.connect() as first, history_gateway.connect() as second:
        for client in (first, second):
            assert resume(client, token, cursor)["complete"] is True
        publisher.order("IDTWICE", 9)
        for client in (first, second):
            frame = receive(client)
            assert (frame["trade"]["id"], frame["trade"]["side"]) == (1, "both")
            assert [number for number, _ in orders(client, 1)] == [9], (
                "the trade, which comes by two exchanges, was sent twice"
            )


def test_second_copy_of_a_trade_after_a_disconnect_is_not_sent(
    history_gateway: GatewayProcess, signer: Signer, publisher: Publisher
) -> None:
    token = signer.token("IDCOPY")
    with history_gateway.connect() as client:
        resume(client, token)
        publisher.trade({"id": 5, "ask_id": 1}, ask_uid="IDCOPY")
        cursor = receive(client)["cursor"]
    publisher.event("private.IDCOPY.trade", {"id": 5, "side": "sell"})
    with history_gateway.connect() as client:
        resume(client, token, cursor)
        publisher.order("IDCOPY", 6)
        assert [number for number, _ in orders(client, 1)] == [6]


def test_resume_with_a_second_token_repeats_nothing(
    history_gateway: GatewayProcess, signer: Signer, publisher: Publisher
) -> None:
    token = signer.token("IDAGAIN")
    with history_gateway.connect() as client:
        cursor = resume(client, token)["cursor"]
        publisher.order("IDAGAIN", 1)
        orders(client, 1)
        client.send(json.dumps({"jwt": f"Bearer {token}", "resume": cursor}))
        assert receive(client)["resume"]["complete"] is True
        publisher.order("IDAGAIN", 2)
        assert [number for number, _ in orders(client, 1)] == [2]


def test_resuming_may_begin_on_an_open_connection(
    history_gateway: GatewayProcess, signer: Signer, publisher: Publisher
) -> None:
    token = signer.token("IDLATER")
    with history_gateway.connect() as client:
        receive(client)
        authenticate(client, token)
        client.send(json.dumps({"jwt": f"Bearer {token}", "resume": True}))
        assert receive(client)["resume"]["complete"] is True
        publisher.order("IDLATER", 1)
        publisher.order("IDLATER", 2)
        assert [number for number, _ in orders(client, 2)] == [1, 2], "an event was lost or repeated"


def test_ranger_resumes_by_query_and_by_message(
    history_gateway: GatewayProcess, signer: Signer, publisher: Publisher
) -> None:
    token = signer.token("IDRANGER")
    header = {"additional_headers": {"Authorization": f"Bearer {token}"}}
    with history_gateway.connect("private?stream=order&resume=1", **header) as client:
        answer = receive(client)
        assert answer["success"]["streams"] == ["order"]
        cursor = answer["resume"]["cursor"]
    publisher.event("private.IDRANGER.order", {"id": 1})
    publisher.event("private.IDRANGER.trade", {"id": 2})
    with history_gateway.connect(f"private?stream=order&stream=trade&resume={cursor}", **header) as client:
        assert receive(client)["resume"] == {"cursor": cursor, "complete": True}
        assert receive(client)["order"] == {"id": 1}
        assert receive(client)["trade"] == {"id": 2}
    with history_gateway.connect("public") as client:
        receive(client)
        client.send(json.dumps({"jwt": f"Bearer {token}", "resume": cursor}))
        assert receive(client)["resume"] == {"cursor": cursor, "complete": True}
        publisher.event("private.IDRANGER.order", {"id": 3})
        client.send(json.dumps({"event": "subscribe", "streams": ["order", "trade"]}))
        assert receive(client) == {"success": {"message": "subscribed", "streams": ["order", "trade"]}}
        assert [receive(client).get("order"), receive(client).get("trade"), receive(client).get("order")] == [
            {"id": 1},
            {"id": 2},
            {"id": 3},
        ]


def test_token_before_the_first_private_stream_loses_no_event(
    history_gateway: GatewayProcess, signer: Signer, publisher: Publisher
) -> None:
    token = signer.token("IDPENDING")
    with history_gateway.connect(
        "private?stream=order&resume=1", additional_headers={"Authorization": f"Bearer {token}"}
    ) as witness:
        cursor = receive(witness)["resume"]["cursor"]
        for number in (1, 2):
            publisher.event("private.IDPENDING.order", {"id": number})
        assert [receive(witness)["order"]["id"] for _ in range(2)] == [1, 2]
        with history_gateway.connect("public") as client:
            receive(client)
            for asked in (cursor, True):
                client.send(json.dumps({"jwt": f"Bearer {token}", "resume": asked}))
                assert receive(client)["resume"] == {"cursor": cursor, "complete": True}
            client.send(json.dumps({"event": "subscribe", "streams": ["order"]}))
            assert receive(client)["success"]["streams"] == ["order"]
            publisher.event("private.IDPENDING.order", {"id": 3})
            assert [receive(client)["order"]["id"] for _ in range(3)] == [1, 2, 3]


def test_client_resumes_at_a_worker_that_started_later(start: Start, signer: Signer, publisher: Publisher) -> None:
    token = signer.token("IDMOVES")
    first = start()
    with first.connect() as client:
        cursor = resume(client, token)["cursor"]
        publisher.order("IDMOVES", 1)
        publisher.order("IDMOVES", 2)
        ((_, after_first), _) = orders(client, 2)
    second = start()
    for at, missed in ((cursor, [1, 2]), (after_first, [2])):
        with second.connect() as client:
            assert resume(client, token, at)["complete"] is True
            assert [number for number, _ in orders(client, len(missed))] == missed


def test_resume_beyond_the_history_is_incomplete(start: Start, signer: Signer, publisher: Publisher) -> None:
    gateway = start(WEBSOCKET_RESUME_BYTES="10000")
    token = signer.token("IDLONG")
    with gateway.connect() as client:
        cursor = resume(client, token)["cursor"]
        for number in range(100):
            publisher.order("IDLONG", number)
        recent = orders(client, 100)[-2][1]
    with gateway.connect() as client:
        assert resume(client, token, cursor)["complete"] is False
    with gateway.connect() as client:
        assert resume(client, token, recent)["complete"] is True
        assert [number for number, _ in orders(client, 1)] == [99]


def test_resumed_connections_are_counted(start: Start, signer: Signer) -> None:
    gateway, token = start(), signer.token("IDCOUNT")
    cursor = ""
    for cursor_of_ours in (False, True):
        with gateway.connect() as client:
            cursor = resume(client, token, cursor if cursor_of_ours else "nonsense")["cursor"]
    for outcome in ("complete", "incomplete"):
        figure = f'peatio_ws_replays_total{{outcome="{outcome}"}}'
        wait_until(lambda figure=figure: gateway.metric(figure) == 1, figure)


def test_resume_without_history_is_incomplete(start: Start, signer: Signer, publisher: Publisher) -> None:
    gateway = start(AMQP_HISTORY="off")
    with gateway.connect() as client:
        assert resume(client, signer.token("IDOFF"))["complete"] is False
        publisher.order("IDOFF", 1)
        assert receive(client).keys() == {"orderbook"}


def test_slow_client_receives_ten_thousand_missed_events(
    start: Start, signer: Signer, fast_publisher: Publisher
) -> None:
    gateway = start(WEBSOCKET_OUTBOX_BYTES="100000")
    token = signer.token("IDMANY")
    with gateway.connect() as client:
        cursor = resume(client, token)["cursor"]
    with gateway.member(signer.token("IDWITNESS")) as witness:
        for number in range(10_000):
            fast_publisher.order("IDMANY", number)
        fast_publisher.order("IDWITNESS", 1)
        assert receive(witness)["orderbook"]["id"] == 1, "the worker has all events before"
    with gateway.connect() as client:
        assert resume(client, token, cursor)["complete"] is True
        wait_until(lambda: gateway.metric("peatio_ws_slow_clients") == 1, "unread frames wait in the outbox")
        fast_publisher.order("IDMANY", 10_000)
        assert [number for number, _ in orders(client, 10_001)] == list(range(10_001))
