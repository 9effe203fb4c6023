"""Resuming, from a cursor to live events. Whatever the client sends in between, no guaranteed event is skipped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from peatio_ws import testing

UID = "IDANN"


class Past(NamedTuple):
    """A client that has received order 1 and missed orders 2, 3 and 4.

    Attributes:
        cursors: cursors by the number of the last order before them.
    """

    server: testing.Server
    cursors: dict[int, str]

    def token(self, resume: object = None, uid: str = UID) -> dict[str, Any]:
        message = {"jwt": f"Bearer {self.server.token(uid)}"}
        if resume is not None:
            message["resume"] = self.cursors[resume] if type(resume) is int else resume  # type: ignore[assignment]
        return message

    def send_token(self, client: testing.Client, resume: object) -> bool:
        """Send a token with `resume`. Return the answer's `complete`."""
        client.send(self.token(resume))
        answer = client.json()
        assert answer["success"] == {"message": "Authenticated."}
        return bool(answer["resume"]["complete"])

    def resumed(self, resume: object) -> testing.Client:
        """Return a ranger client that resumed by a message and has no private stream yet."""
        client = self.server.connect("/public")
        assert "success" in client.json()
        assert self.send_token(client, resume)
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
def test_pending_replay_survives_messages_before_it(past: Past, between: list[object]) -> None:
    client = past.resumed(1)
    for said in between:
        client.send(said if isinstance(said, dict) else past.token(said))
        answer = client.json()
        assert answer.get("resume", {"complete": True})["complete"] is True
    assert past.orders(client) == [2, 3, 4, 5]


def test_token_of_another_member_keeps_the_pending_replay(past: Past) -> None:
    client = past.resumed(1)
    client.send(past.token(True, uid="IDBOB"))
    assert "error" in client.json()
    assert past.orders(client) == [2, 3, 4, 5]


@pytest.mark.parametrize(("first", "then", "missed"), [(1, 3, [4, 5]), (3, 1, [2, 3, 4, 5]), (3, 0, [1, 2, 3, 4, 5])])
def test_latest_cursor_applies_while_a_replay_is_pending(past: Past, first: int, then: int, missed: list[int]) -> None:
    client = past.resumed(first)
    assert past.send_token(client, then)
    assert past.orders(client) == missed


def test_invalid_cursor_ends_a_pending_replay_with_a_notice(past: Past) -> None:
    client = past.resumed(1)
    assert not past.send_token(client, "not.a.cursor")
    assert past.orders(client) == [5]


def test_pending_replay_whose_events_are_lost_is_incomplete(past: Past) -> None:
    client = past.resumed(1)
    for gateway in testing.Gateway.instances():
        history = gateway._ingest.history
        history.clear(history.name)
    assert not past.send_token(client, True)
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
    assert past.send_token(client, cursor) is complete
    assert past.orders(client) == [5]


@pytest.mark.parametrize(
    ("cursor", "complete"), [(True, True), (3, True), (4, True), (1, False), ("not.a.cursor", False)], ids=str
)
def test_live_client_is_complete_from_its_cursor_on(past: Past, cursor: object, complete: bool) -> None:
    client = past.server.connect(f"/private?stream=order&resume={past.cursors[3]}", token=past.server.token(UID))
    assert client.json()["resume"]["complete"] is True
    assert client.json()["order"] == {"id": 4}
    assert past.send_token(client, cursor) is complete
    assert past.until_five(client) == [5]


def test_token_of_a_live_client_repeats_no_events(past: Past) -> None:
    client = past.resumed(1)
    assert past.orders(client) == [2, 3, 4, 5]
    assert past.send_token(client, 1)
    past.server.publisher.to_member(UID, "order", {"id": 6})
    assert client.json()["order"] == {"id": 6}
