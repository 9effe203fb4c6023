"""Streams of trades with marks, from connection to connection: none missing, none twice, or `false`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from peatio_ws import Gateway, testing
from peatio_ws.routing.trade_history import WINDOW
from tests.unit.server.connections.test_peatio_connection import in_loop

STREAM = "btcusd.trades"
SUBSCRIBED = {"message": "subscribed", "streams": [STREAM]}


class Trades:
    """A gateway with a client that has received some trades.

    Attributes:
        mark: of the last one.
    """

    def __init__(self, gateway: Gateway, server: testing.Server) -> None:
        self.gateway, self.server, self.count = gateway, server, 0
        with self.connect("marks=1") as client:
            assert client.json() == {"success": SUBSCRIBED}
            self.mark = ""
            while not self.mark:
                self.publish()
                self.mark = client.json().get("mark", "")
        assert self.count == WINDOW

    def connect(self, query: str = "", stream: str = STREAM) -> testing.Client:
        return self.server.connect(f"/public?stream={stream}&{query}")

    def publish(self, count: int = 1) -> None:
        for _ in range(count):
            self.count += 1
            self.server.publisher.to_stream(STREAM, {"tid": self.count})

    def numbers(self, client: testing.Client, count: int) -> list[int]:
        return [client.json()[STREAM]["tid"] for _ in range(count)]


@pytest.fixture
def trades() -> Iterator[Trades]:
    gateway = testing.gateway()
    with testing.serve(gateway) as server:
        yield Trades(gateway, server)


def test_missed_trades_follow_the_reply_and_precede_new_ones(trades: Trades) -> None:
    with trades.connect() as witness:
        assert witness.json() == {"success": SUBSCRIBED}
        trades.publish(3)
        trades.numbers(witness, 3)
        with trades.connect(f"after={STREAM}:{trades.mark}") as client:
            assert client.json() == {"success": SUBSCRIBED, "complete": {STREAM: True}}
            trades.publish(2)
            assert trades.numbers(client, 5) == list(range(WINDOW + 1, WINDOW + 6))


def test_client_that_missed_nothing_receives_new_trades_only(trades: Trades) -> None:
    with trades.connect(f"after={STREAM}:{trades.mark}") as client:
        assert client.json() == {"success": SUBSCRIBED, "complete": {STREAM: True}}
        trades.publish()
        assert trades.numbers(client, 1) == [WINDOW + 1]


@pytest.mark.parametrize("mark", ["", "forged", "AAAAAAAAAAAAAAAA"])
def test_client_whose_mark_means_nothing_begins_anew(trades: Trades, mark: str) -> None:
    with trades.connect(f"after={STREAM}:{mark}") as client:
        assert client.json() == {"success": SUBSCRIBED, "complete": {STREAM: False}, "marks": {STREAM: trades.mark}}
        trades.publish()
        assert trades.numbers(client, 1) == [WINDOW + 1]


@pytest.mark.parametrize("path", ["/", "/public"])
def test_marks_can_be_requested_by_message_in_both_protocols(trades: Trades, path: str) -> None:
    def ask(after: object, **more: object) -> Any:
        client.send({"event": "subscribe", "streams": [STREAM, "btcusd.kline-1m"], "after": after, **more})
        return client.json()

    success = {"message": "subscribed", "streams": [STREAM, "btcusd.kline-1m"]}
    with trades.server.connect(path) as client:
        client.json()
        answer = ask({STREAM: trades.mark, "btcusd.kline-1m": trades.mark, "ethusd.trades": trades.mark}, echo=5)
        assert answer == {"success": success, "complete": {"btcusd.kline-1m": False, STREAM: True}, "echo": 5}
        assert list(answer)[-1] == "echo"
        trades.publish()
        assert client.json() == {STREAM: {"tid": WINDOW + 1}, "mark": marked(trades).mark(STREAM)}
        assert ask({STREAM: trades.mark})["complete"] == {STREAM: False}, "it has the stream already"
        assert ask([]) == {"error": "after must be an object with a mark, or null, for each stream"}
        client.send({"event": "unsubscribe", "streams": [STREAM]})
        assert client.json()["success"]["streams"] == ["btcusd.kline-1m"]
        client.send({"event": "subscribe", "streams": [STREAM]})
        assert client.json()["marks"] == {STREAM: marked(trades).mark(STREAM)}, "the connection has marks"


def marked(trades: Trades) -> Any:
    return trades.gateway._ingest.channels.marked


def test_marks_and_a_cursor_are_in_one_reply(trades: Trades) -> None:
    token = trades.server.token("IDANN")
    with trades.connect() as witness:
        trades.publish()
        assert "success" in witness.json()
        trades.numbers(witness, 1)
        path = f"/private?stream=order,{STREAM}&resume=1&after={STREAM}:{trades.mark}"
        with trades.server.connect(path, token=token) as client:
            reply = client.json()
            assert list(reply) == ["success", "complete", "resume"]
            assert reply["complete"] == {STREAM: True}
            assert trades.numbers(client, 1) == [WINDOW + 1]


def test_more_than_half_an_outbox_is_not_complete() -> None:
    gateway = testing.gateway(WEBSOCKET_OUTBOX_BYTES="65536")
    with testing.serve(gateway) as server:
        trades = Trades(gateway, server)
        with trades.connect() as witness:
            assert "success" in witness.json()
            for size in (30_000, 3_000):
                server.publisher.to_stream(STREAM, {"tid": size, "text": "x" * size})
                trades.numbers(witness, 1)
                with trades.connect(f"after={STREAM}:{trades.mark}") as client:
                    assert client.json()["complete"] == {STREAM: size == 30_000}
                    assert marked(trades).has_followers(STREAM)


def test_stream_stays_bound_for_a_client_that_may_come_back(trades: Trades) -> None:
    kept = trades.gateway._ingest.interest._kept
    in_loop(lambda: list(kept) == [STREAM])
    kept.clear()
    with trades.connect("marks=1", "ethusd.trades") as other, trades.connect() as plain:
        assert other.json()["success"]["streams"] == ["ethusd.trades"]
        assert plain.json() == {"success": SUBSCRIBED}
        other.send({"event": "subscribe", "streams": [STREAM]})
        assert other.json()["marks"] == {STREAM: trades.mark}
    in_loop(lambda: not len(trades.gateway._registry))
    assert list(kept) == [STREAM], "the only one with marks that was published"
    with trades.connect("marks=1") as client:
        assert "success" in client.json()
        kept.clear()
        client.send({"event": "unsubscribe", "streams": [STREAM]})
        assert "success" in client.json()
        assert list(kept) == [STREAM]


def test_streams_share_half_an_outbox() -> None:
    streams = [STREAM, "ethusd.trades"]
    with testing.serve(testing.gateway(WEBSOCKET_OUTBOX_BYTES="65536")) as server:

        def publish(body: object) -> list[str]:
            for name in streams:
                server.publisher.to_stream(name, body)
            return [witness.json().get("mark", "") for _ in streams]

        with server.connect(f"/public?stream={','.join(streams)}&marks=1") as witness:
            assert "success" in witness.json()
            marks = [publish({"tid": number}) for number in range(WINDOW)][-1]
            publish({"text": "x" * 20_000})
            after = [f"{name}:{mark}" for name, mark in zip(streams, marks, strict=True)]
            with server.connect(f"/public?stream={','.join(streams)}&after={','.join(after)}") as client:
                assert client.json()["complete"] == {streams[0]: True, streams[1]: False}
                assert list(client.json()) == [streams[0], "mark"]
