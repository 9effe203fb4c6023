"""Check before measuring that all servers do the same work: they deliver the same JSON and refuse a forged token."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from bench import publisher, tokens
from bench.contestants import Contestant, Setup
from bench.publisher import Publisher
from tests.support.raw_client import RawClient, text


def expected(number: int) -> dict[str, Any]:
    """Return the message that a classic client receives for `publisher.body(number)`."""
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
    """Return a frame with such a message, for the floor to send."""
    payload = json.dumps(expected(publisher.stamp()), separators=(",", ":")).encode()
    assert 126 <= len(payload) < 65_536
    return b"\x81\x7e" + len(payload).to_bytes(2) + payload


def check(contestant: Contestant, setup: Setup, tls: bool) -> None:
    """Raise SystemExit if a server delivers other JSON, or accepts a token with an invalid signature.

    Ignores the id of the order and the format of its time.
    """
    good, bad = setup.keys.tokens.read_text().split("\n", 1)[0], "eyJhbGciOiJSUzI1NiJ9.e30.AAAA"
    context = setup.certificate.trusted() if tls else None
    with contestant.start(setup, tls) as server, RawClient(server.port, context) as client:
        steps = _authenticate(client, contestant.private_path, bad, good)
        number, source = publisher.stamp(), Publisher(setup.broker)
        source.publish([f"private.{tokens.uid(0)}.order"], 1, 0)
        got = client.json()
        source.close()
        (order,) = got.values()
        before = expected(number) if "orderbook" in got else {"order": json.loads(publisher.body(number))}
        for one in (*before.values(), order):
            one["id"] = 0
            if isinstance(one["created_at"], str):
                one["created_at"] = datetime.fromisoformat(one["created_at"])
        if steps != ["challenge", "error", "success"] or got != before:
            raise SystemExit(f"{contestant.label} does not do the same work as the others: {steps} {got}")


def _authenticate(client: RawClient, path: str, bad: str, good: str) -> list[str]:
    """Present both tokens. Return the keys of the three answers; in Ranger's protocol, a 401 counts as two of them."""
    if path == "/":
        answers = [client.upgrade(path).json()]
        for token in (bad, good):
            client.send(text({"jwt": f"Bearer {token}"}))
            answers.append(client.json())
        return [key for answer in answers for key in answer]
    line = f"GET {path} HTTP/1.1"
    refused, accepted = (client.request({"Authorization": f"Bearer {token}"}, line).status for token in (bad, good))
    return [*(["challenge", "error"] if (refused, accepted) == (401, 101) else []), *client.json()]
