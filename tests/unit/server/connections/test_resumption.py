"""Resuming: from a cursor to live events. Whatever the client sends in between, no promised event is skipped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from peatio_ws import testing

UID = "IDANN"


class Past(NamedTuple):
    """Order 1 was seen, orders 2, 3 and 4 were missed.

    Attributes:
        cursors: by the order behind which each one points.
    """

    server: testing.Server
    cursors: dict[int, str]

    def token(self, resume: object = None, uid: str = UID) -> dict[str, Any]:
        message = {"jwt": f"Bearer {self.server.token(uid)}"}
        if resume is not None:
            message["resume"] = self.cursors[resume] if type(resume) is int else resume  # type: ignore[assignment]
        return message

    def tell(self, client: testing.Client, resume: object) -> bool:
        """Send a token with `resume`. Return the answer's `complete`."""
        client.send(self.token(resume))
        answer = client.json()
        assert answer["success"] == {"message": "Authenticated."}
        return bool(answer["resume"]["complete"])

    def returned(self, resume: object) -> testing.Client:
        """Return a ranger client that resumed by a message and has no private stream yet."""
        client = self.server.connect("/public")
        assert "success" in client.json()
        assert self.tell(client, resume)
        return client

    def orders(self, client: testing.Client) -> list[int]:
        """Subscribe, publish order 5, and return all orders received up to it."""
        client.send({"event": "subscribe", "streams": ["order"]})
        assert client.json()["success"]["streams"] == ["order"]
        return self.until_five(client)

    def until_five(self, client: testing.Client) -> list[int]:
        self.server.publisher.to_member(UID, "order", {"id": 5})
        numbers: list[int] = []
        while 5 not in numbers:
            numbers.append(client.json()["order"]["id"])
        return numbers


@pytest.fixture
def past() -> Iterator[Past]:
    with testing.serve(testing.gateway()) as server:
        witness = server.connect("/private?stream=order&resume=1", token=server.token(UID))
        cursors = {0: witness.json()["resume"]["cursor"]}
        for number in range(1, 5):
            server.publisher.to_member(UID, "order", {"id": number})
            frame = witness.json()
            assert frame["order"] == {"id": number}
            cursors[number] = frame["cursor"]
        witness.close()
        yield Past(server, cursors)


SUBSCRIBE, UNSUBSCRIBE = ({"event": event, "streams": ["btcusd.trades"]} for event in ("subscribe", "unsubscribe"))
BETWEEN: dict[str, list[object]] = {
    "nothing": [],
    "resume again": [True],
    "resume twice": [True, True],
    "the same cursor": [1],
    "a fresh token": [None],
    "a fresh token, then resume": [None, True],
    "a bad token": [{"jwt": "Bearer no.token", "resume": True}],
    "public streams": [SUBSCRIBE, UNSUBSCRIBE, True, SUBSCRIBE, UNSUBSCRIBE],
    "a private stream that it never had": [{"event": "unsubscribe", "streams": ["order"]}, True],
    "a newer cursor, then an older one": [3, 1, True],
}


@pytest.mark.parametrize("between", BETWEEN.values(), ids=BETWEEN)
def test_a_promised_replay_survives_messages_before_it(past: Past, between: list[object]) -> None:
    client = past.returned(1)
    for said in between:
        client.send(said if isinstance(said, dict) else past.token(said))
        answer = client.json()
        assert answer.get("resume", {"complete": True})["complete"] is True
    assert past.orders(client) == [2, 3, 4, 5]


def test_a_token_of_another_member_leaves_a_promised_replay(past: Past) -> None:
    client = past.returned(1)
    client.send(past.token(True, uid="IDBOB"))
    assert "error" in client.json()
    assert past.orders(client) == [2, 3, 4, 5]


@pytest.mark.parametrize(("first", "then", "missed"), [(1, 3, [4, 5]), (3, 1, [2, 3, 4, 5]), (3, 0, [1, 2, 3, 4, 5])])
def test_the_latest_cursor_counts_while_a_replay_is_promised(
    past: Past, first: int, then: int, missed: list[int]
) -> None:
    client = past.returned(first)
    assert past.tell(client, then)
    assert past.orders(client) == missed


def test_an_invalid_cursor_ends_a_promised_replay_and_says_so(past: Past) -> None:
    client = past.returned(1)
    assert not past.tell(client, "not.a.cursor")
    assert past.orders(client) == [5]


def test_a_promise_that_cannot_be_kept_is_withdrawn(past: Past) -> None:
    client = past.returned(1)
    for gateway in testing.Gateway.instances():
        history = gateway._ingest.history
        history.clear(history.name)
    assert not past.tell(client, True)
    assert past.orders(client) == [5]


@pytest.mark.parametrize(
    ("cursor", "complete"), [(True, True), (1, False), (3, False), ("not.a.cursor", False)], ids=str
)
def test_a_cursor_after_events_without_cursors_guarantees_nothing(past: Past, cursor: object, complete: bool) -> None:
    """Orders between the cursor and the first token were missed and are not sent."""
    client = past.server.connect("/public")
    client.json()
    client.send(past.token())
    client.json()
    assert past.tell(client, cursor) is complete
    assert past.orders(client) == [5]


@pytest.mark.parametrize(
    ("cursor", "complete"), [(True, True), (3, True), (4, True), (1, False), ("not.a.cursor", False)], ids=str
)
def test_a_live_client_is_complete_from_where_it_resumed(past: Past, cursor: object, complete: bool) -> None:
    client = past.server.connect(f"/private?stream=order&resume={past.cursors[3]}", token=past.server.token(UID))
    assert client.json()["resume"]["complete"] is True
    assert client.json()["order"] == {"id": 4}
    assert past.tell(client, cursor) is complete
    assert past.until_five(client) == [5]


def test_a_token_on_a_live_client_repeats_nothing(past: Past) -> None:
    client = past.returned(1)
    assert past.orders(client) == [2, 3, 4, 5]
    assert past.tell(client, 1)
    past.server.publisher.to_member(UID, "order", {"id": 6})
    assert client.json()["order"] == {"id": 6}
