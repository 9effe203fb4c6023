"""Clients that subscribe up to the limit to long names that no publisher uses. Such names cost little and leave nothing
behind."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from tests.programs.soak import held
from tests.support.gateway import GatewayProcess
from tests.support.raw_client import RawClient, text
from tests.support.servers import wait_until

AT_ONCE = 100
"""Names of 128 characters in a message of 16 KiB."""
CONNECTIONS = 50
CHURN = 100


def names() -> Iterator[list[str]]:
    """Return different names of the maximum length, half of them names of books."""
    numbers = itertools.count()
    while True:
        kinds = ["-inc", "-snap"] * (AT_ONCE // 2)
        yield [f"m.{next(numbers):0{126 - len(kind)}d}{kind}" for kind in kinds]


def change(client: RawClient, event: str, streams: list[str]) -> list[str]:
    client.send(text({"event": event, "streams": streams}))
    streams_now: list[str] = client.json()["success"]["streams"]
    return streams_now


def test_unpublished_names_leave_nothing_behind(start: Callable[..., GatewayProcess]) -> None:
    command = ("gunicorn", "tests.support.apps.soak_app")
    gateway = start(command, WEBSOCKET_MESSAGE_BURST="100000", LOG_LEVEL="warning")
    some = names()

    def crowd() -> int:
        """Subscribe with many connections, then disconnect them. Return the memory that they used, in KB."""
        before = held(gateway)["kilobytes"]
        with ExitStack() as stack:
            for _ in range(CONNECTIONS):
                client = stack.enter_context(RawClient(gateway.port)).upgrade("/public")
                client.json()
                change(client, "subscribe", next(some))
                assert len(change(client, "subscribe", next(some))) == 2 * AT_ONCE
                client.send(text({"event": "subscribe", "streams": ["one.more"]}))
                assert "too many streams" in client.json()["error"]
            full = held(gateway)
        assert full["register"] == 2 * AT_ONCE * CONNECTIONS
        wait_until(lambda: held(gateway)["connections"] == 0, "all connections have ended")
        assert held(gateway)["register"] == 0
        return full["kilobytes"] - before

    cost = crowd() / CONNECTIONS
    print(f"{cost:.0f} KB a connection")
    assert cost < 300
    before = held(gateway)["kilobytes"]
    crowd()
    with RawClient(gateway.port).upgrade("/public") as client:
        client.json()
        for _ in range(CHURN):
            streams = next(some)
            assert change(client, "subscribe", streams) == streams
            assert change(client, "unsubscribe", streams) == []
        assert held(gateway)["register"] == 0
    assert held(gateway)["kilobytes"] < before * 1.025
