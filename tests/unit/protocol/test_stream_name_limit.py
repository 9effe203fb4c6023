"""The limit of stream names of a worker, and that it stores each name once."""

from __future__ import annotations

import json

import pytest

from peatio_ws import testing
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.session import Session
from peatio_ws.protocol.stream_name_limit import ALWAYS_ALLOWED, StreamNameLimit
from peatio_ws.protocol.subscription_rules import SubscriptionRules
from peatio_ws.transport.outbox import Outbox
from tests.unit.samples import Wire, channels

MOST = 30
REFUSED = {"error": "too many streams: this server has no room for more names; try again later"}


class Worker:
    """Sessions of a worker with a low limit of names."""

    def __init__(self) -> None:
        self.channels = channels(10)
        self.names = StreamNameLimit(self.channels.holds, self.channels.names, MOST)

    def subscribe(self, session: Session, *streams: str) -> list[object]:
        actions = session.receive(json.dumps({"event": "subscribe", "streams": streams}))
        outbox = Outbox(Wire(), 2**20, 3600.0)  # type: ignore[arg-type]
        for name in session.streams:
            self.channels.subscribe(outbox, name)
        return [json.loads(action.payload) for action in actions if hasattr(action, "payload")]

    def session(self) -> Session:
        return Session(Dialect.RANGER, SubscriptionRules(names=self.names))


def invented(count: int, kind: str = "trades") -> list[str]:
    return [f"m{number}.{kind}" for number in range(count)]


def test_beyond_the_limit_only_names_in_use_are_allowed() -> None:
    worker = Worker()
    first, second = worker.session(), worker.session()
    assert worker.subscribe(first, *invented(MOST)) == [
        {"success": {"message": "subscribed", "streams": first.streams}}
    ]
    error, success = worker.subscribe(second, *invented(ALWAYS_ALLOWED), "one.more", "m25.trades", "and.another")
    assert error == REFUSED
    assert success == {"success": {"message": "subscribed", "streams": [*invented(ALWAYS_ALLOWED), "m25.trades"]}}
    assert worker.names.refused == 2


def test_client_with_few_streams_may_use_any_name() -> None:
    worker = Worker()
    worker.subscribe(worker.session(), *invented(MOST))
    for number in range(5):
        session = worker.session()
        names = [f"client{number}.{one}" for one in range(ALWAYS_ALLOWED)]
        worker.subscribe(session, *names)
        assert session.streams == names


@pytest.mark.parametrize("kind", ["trades", "ob-inc"])
def test_names_of_several_clients_are_one_object(kind: str) -> None:
    worker = Worker()
    sessions = [worker.session() for _ in range(4)]
    for session in sessions:
        worker.subscribe(session, *(name.encode().decode() for name in invented(10, kind)))
    for names in zip(*(session.streams for session in sessions[1:]), strict=True):
        assert len({id(name) for name in names}) == 1


def test_a_book_that_was_published_counts_as_in_use() -> None:
    worker = Worker()
    worker.channels.publish("btc.ob-snap", b'{"asks":[],"bids":[]}')
    session = worker.session()
    worker.subscribe(session, *invented(MOST))
    worker.subscribe(session, "btc.ob-inc", "no.ob-inc")
    assert session.streams[MOST:] == ["btc.ob-inc"]


def test_names_that_wait_for_the_broker_count() -> None:
    worker = Worker()
    worker.names.pending = MOST
    assert worker.names.claim("a.b", ALWAYS_ALLOWED) is None
    assert worker.names.claim("order", ALWAYS_ALLOWED) == "order", "a private stream was counted"
    worker.names.pending = 0
    assert worker.names.claim("a.b", ALWAYS_ALLOWED) == "a.b"


def test_refused_names_are_counted() -> None:
    gateway = testing.gateway(WEBSOCKET_MAX_STREAM_NAMES="0")
    with testing.serve(gateway) as server, server.connect("/public") as client:
        client.json()
        client.send({"event": "subscribe", "streams": invented(ALWAYS_ALLOWED + 5)})
        assert client.json() == REFUSED
        assert client.json()["success"]["streams"] == invented(ALWAYS_ALLOWED)
        client.send({"event": "unsubscribe", "streams": invented(5)})
        assert client.json()["success"]["streams"] == invented(ALWAYS_ALLOWED)[5:]
        client.send({"event": "subscribe", "streams": ["a.trades"]})
        assert "a.trades" in client.json()["success"]["streams"]
