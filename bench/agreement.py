"""Before anything is measured: every contestant has to do the same work, and says so with the same JSON."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from websockets.sync.client import connect

from bench import publisher, tokens
from bench.contestants import Contestant, Surroundings
from bench.publisher import Publisher


def expected(number: int) -> dict[str, Any]:
    """What a classic client gets for `publisher.body(number)`."""
    return {
        "orderbook": {
            "id": number,
            "side": "buy",
            "ord_type": "limit",
            "price": "9120.5",
            "avg_price": "0.0",
            "state": "wait",
            "market_id": "btcusd",
            "created_at": "2024-04-05T19:34:38Z",
            "origin_volume": "1.5",
            "trades_count": 0,
            "trades": [],
            "remaining_volume": "1.5",
            "executed_volume": "0.0",
        }
    }


def frame() -> bytes:
    """The frame of it, for the floor to send."""
    text = json.dumps(expected(publisher.stamp()), separators=(",", ":")).encode()
    assert 126 <= len(text) < 65_536
    return b"\x81\x7e" + len(text).to_bytes(2) + text


def check(contestant: Contestant, around: Surroundings) -> None:
    """SystemExit if it delivers something else, or accepts a token that is not signed by the key."""
    good, bad = around.keys.tokens.read_text().split("\n", 1)[0], "eyJhbGciOiJSUzI1NiJ9.e30.AAAA"
    with contestant.start(around) as server, connect(f"ws://127.0.0.1:{server.port}/", compression=None) as client:
        steps = [client.recv(5)]
        for token in (bad, good):
            client.send(json.dumps({"jwt": f"Bearer {token}"}))
            steps.append(client.recv(5))
        number, source = publisher.stamp(), Publisher(around.broker)
        before = expected(number)
        source.publish([f"private.{tokens.uid(0)}.order"], 1, 0)
        got = json.loads(client.recv(5))
        source.close()
        before["orderbook"]["id"] = got["orderbook"]["id"]
        for one in (before, got):
            one["orderbook"]["created_at"] = datetime.fromisoformat(one["orderbook"]["created_at"])
        if [list(json.loads(step)) for step in steps] != [["challenge"], ["error"], ["success"]] or got != before:
            raise SystemExit(f"{contestant.label} does other work: {steps} {got}")
