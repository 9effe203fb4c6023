"""A history stream that the broker refuses and later allows: no event is lost or repeated in either change."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from websockets.sync.client import ClientConnection

from tests.support.gateway import GatewayProcess, Publisher, Signer, receive, resume
from tests.support.servers import RabbitMQ, wait_until

SECONDS = 120.0


class Numbers(threading.Thread):
    """Publishes orders one by one, each confirmed, until it is stopped."""

    def __init__(self, url: str, uid: str) -> None:
        super().__init__(daemon=True)
        self._url, self._uid = url, uid
        self._over = threading.Event()
        self.last = 0

    def run(self) -> None:
        with Publisher(self._url) as publisher:
            while not self._over.wait(0.005):
                publisher.order(self._uid, self.last + 1)
                self.last += 1

    def end(self) -> None:
        self._over.set()
        self.join(SECONDS)


class Member(threading.Thread):
    """Records what arrives: `got` contains the orders' numbers, `notices` the `complete` of each notice."""

    def __init__(self, client: ClientConnection) -> None:
        super().__init__(daemon=True)
        self._client = client
        self.got: list[int] = []
        self.notices: list[bool] = []

    def run(self) -> None:
        for text in self._client:
            frame = json.loads(text)
            if "orderbook" in frame:
                self.got.append(frame["orderbook"]["id"])
            elif "resume" in frame:
                self.notices.append(frame["resume"]["complete"])


@pytest.fixture
def user(broker: RabbitMQ) -> Iterator[tuple[str, str, Callable[[str], None]]]:
    """Return the URL of a user in a separate virtual host, the owner's URL, and a function that allows the user to
    write."""
    name = uuid.uuid4().hex
    broker.ctl("add_vhost", name)
    broker.ctl("add_user", name, "sesame")

    def allow(write: str) -> None:
        broker.ctl("set_permissions", "-p", name, name, ".*", write, ".*")

    broker.ctl("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
    where = f"127.0.0.1:{broker.port}/{name}"
    yield f"amqp://{name}:sesame@{where}", f"amqp://guest:guest@{where}", allow
    broker.ctl("delete_vhost", name)
    broker.ctl("delete_user", name)


def test_stream_that_is_allowed_later_is_read_without_a_loss(
    folder: Path, user: tuple[str, str, Callable[[str], None]], signer: Signer
) -> None:
    """Without permission to publish to the stream the gateway is ready, and keeps its own history."""
    url, owner, allow = user
    allow("^peatio")  # no permission on amq.default
    gateway = GatewayProcess(folder, {"AMQP_URL": url, **signer.environ})
    try:
        said = next(event for event in gateway.events() if "cannot read the history stream" in event["event"])
        assert "amq.default" in said["remedy"]
        numbers = Numbers(owner, "IDANN")
        with gateway.connect() as client:
            assert resume(client, signer.token("IDANN"))["complete"]
            member = Member(client)
            member.start()
            numbers.start()
            wait_until(lambda: len(member.got) > 10, "orders arrive through the worker's own queue", SECONDS)
            allow(".*")
            wait_until(lambda: "history stream readable again" in gateway.log(), "the stream is read", SECONDS)
            before = numbers.last
            wait_until(lambda: member.got[-1] > before + 100, "orders arrive through the stream", SECONDS)
            numbers.end()
            wait_until(lambda: member.got[-1] == numbers.last, "the last order arrives", SECONDS)
            assert member.got == list(range(1, numbers.last + 1))
            assert False in member.notices, "a cursor into the worker's own history is not valid in the stream"
        with gateway.connect() as client:
            cursor = resume(client, signer.token("IDANN"))["cursor"]
        gateway.restart()
        gateway.wait_ready()
        with Publisher(owner) as publisher, gateway.connect() as client:
            publisher.order("IDANN", 1_000_000)
            assert resume(client, signer.token("IDANN"), cursor)["complete"], (
                "a cursor into the stream is not valid at another worker"
            )
            assert receive(client)["orderbook"]["id"] == 1_000_000
    finally:
        gateway.stop()
