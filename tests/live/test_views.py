"""Views under load: whoever follows one, and whenever, has the publisher's book; who reads slowly has the newest."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Collection
from typing import Any, Final

import pytest

from peatio_ws.protocol.view_names import view_names
from tests.support.followers import UNPINGED, Feeding, Market, apply, sides
from tests.support.gateway import GatewayProcess, Publisher
from tests.support.servers import RabbitMQ, wait_until
from tests.support.swarm import Swarm, SwarmClient

RATE: Final = 500
"""Increments a second."""
INCREMENTS: Final = 3_000
WHOLE: Final = 1_000_000
"""More levels than a book has."""
HOLES: Final = (700, 1_500, 2_300)
"""Increments that are not published; a snapshot follows some time later."""
SNAPSHOTS: Final = (900, 1_200, 1_700, 2_500)
VIEWS: Final = ("-inc@100ms", "-inc@250ms", "-inc@1000ms", "-top@1", "-top@20/100ms", "-top@50/250ms")
ROUNDS: Final = 10
"""How often the long form publishes as much, with as many holes and snapshots, as the short one."""


class Follower(SwarmClient):
    """A client with one view, that folds what it receives.

    Attributes:
        book: None before the first frame.
        sequence: of the last frame.
        frames: how many there were.
        joined_at: monotonic time.
    """

    def __init__(self, port: int, name: str, view: str) -> None:
        self.view, self.stream = view, f"{name}{view}"
        self.book: dict[str, Any] | None = None
        self.sequence = 0
        self.frames = 0
        self.joined_at = time.monotonic()
        super().__init__(port, None, f"/public?stream={self.stream}")

    def read(self) -> None:
        super().read()
        texts, self.texts = self.texts, []
        for text in texts:
            (name, body), *rest = json.loads(text).items()
            if name == "success":
                continue
            assert not rest
            self.frames += 1
            self._fold(name, body)
            self.sequence = body["sequence"]

    def _fold(self, name: str, body: dict[str, Any]) -> None:
        if name == self.stream and "-inc@" in name:
            assert self.book is not None
            assert body["previous"] == self.sequence
            apply(self.book, body)
            return
        assert name == self.stream or ("-inc@" in self.stream and name.endswith("-snap"))
        self.book = sides(body)

    @property
    def seconds(self) -> float:
        """The shortest time between two of its frames."""
        pace = self.view.rpartition("@")[2].rpartition("/")[2]
        return int(pace.removesuffix("ms")) / 1000 if pace.endswith("ms") else 0.5

    @property
    def levels(self) -> int:
        return int(self.view.partition("@")[2].partition("/")[0]) if "-top@" in self.view else WHOLE


def repeated(numbers: tuple[int, ...], market: Market) -> set[int]:
    """Return the numbers of increments at which something happens: in each `INCREMENTS` the same."""
    return {start + number for start in range(0, market.last, INCREMENTS) for number in numbers}


class Publishing(threading.Thread):
    """Publishes a market's changes at a steady pace, but for the holes, and snapshots now and then."""

    def __init__(self, url: str, market: Market) -> None:
        super().__init__()
        self._url, self._market = url, market
        self.start()

    def run(self) -> None:
        market, key = self._market, f"public.{self._market.name}"
        holes, snapshots = repeated(HOLES, market), market.snapshots({0, market.last} | repeated(SNAPSHOTS, market))
        with Publisher(self._url, confirm=False) as publisher:
            publisher.event(f"{key}-snap", snapshots[0])
            for number, body in enumerate(market.increments, 1):
                if number not in holes:
                    publisher.event(f"{key}-inc", body)
                if number in snapshots:
                    publisher.event(f"{key}-snap", snapshots[number])
                if number % 10 == 0:
                    time.sleep(10 / RATE)  # the pace


def test_followers_who_come_and_go_have_the_publishers_book(
    start: Callable[..., GatewayProcess], broker: RabbitMQ
) -> None:
    come_and_go(start(**UNPINGED), broker, Market("viewed.ob", count=INCREMENTS), 100, VIEWS)


@pytest.mark.long
def test_five_hundred_followers_of_all_views_have_the_publishers_book(
    start: Callable[..., GatewayProcess], broker: RabbitMQ
) -> None:
    """`make views-long`: a minute of changes."""
    market = Market("viewed.ob", count=ROUNDS * INCREMENTS)
    views = [name.removeprefix("viewed.ob") for name in view_names("viewed.ob-inc")]
    assert len(views) == 41
    come_and_go(start(**UNPINGED), broker, market, 500, views)


def come_and_go(gateway: GatewayProcess, broker: RabbitMQ, market: Market, most: int, views: Collection[str]) -> None:
    """Let clients follow views and leave while the market changes. Each one's frames are checked as they come; those
    that stay to the end have the market's book."""
    chance, left, frames = random.Random(1), 0, 0
    with Swarm() as swarm:
        followers: list[Follower] = []

        def join(view: str) -> None:
            followers.append(Follower(gateway.port, market.name, view))
            swarm.join(followers[-1])

        for view in views:
            join(view)
        swarm.until(lambda: all(one.status == 101 for one in followers), "the first followers are here")
        publishing = Publishing(broker.url, market)
        while publishing.is_alive():
            swarm.turn(0.01)
            if len(followers) < most:
                join(chance.choice(list(views)))
            elif chance.random() < 0.2:
                leaving = chance.sample(followers, 3)
                swarm.drop(leaving)
                followers = [one for one in followers if one not in leaving]
                left, frames = left + 3, frames + sum(one.frames for one in leaving)
        publishing.join()
        swarm.until(lambda: all(one.sequence == market.last for one in followers), "all have the newest state")
    (book,) = market.books([market.last]).values()
    for one in followers:
        assert one.book == best(book, one.levels), one.view
        # One frame answers the subscription, and the machine may have delayed two others towards each other.
        assert one.frames <= (time.monotonic() - one.joined_at) / one.seconds + 3, one.view
    assert len({one.view for one in followers}) == len(views)
    frames += sum(one.frames for one in followers)
    print(
        f"{len(followers)} followers of {len(views)} views, {left} left before; {frames} frames, all as they should be"
    )


def best(book: dict[str, dict[str, str]], levels: int) -> dict[str, dict[str, str]]:
    asks, bids = sorted(book["asks"].items(), key=by_price), sorted(book["bids"].items(), key=by_price, reverse=True)
    return {"asks": dict(asks[:levels]), "bids": dict(bids[:levels])}


def by_price(level: tuple[str, str]) -> float:
    return float(level[0])


def test_slow_reader_of_a_view_is_not_closed_and_has_the_newest_soon(
    start: Callable[..., GatewayProcess], broker: RabbitMQ, publisher: Publisher
) -> None:
    gateway = start(**UNPINGED, WEBSOCKET_OUTBOX_BYTES="65536", WEBSOCKET_SEND_TIMEOUT="120")
    market = Market("slow.ob", count=8_000)
    publisher.event(f"public.{market.name}-snap", market.snapshots([0])[0])
    names = [f"{market.name}-top@20/100ms", f"{market.name}-inc@100ms", f"{market.name}-inc"]
    with Swarm() as swarm:
        clients = [
            SwarmClient(gateway.port, None, f"/public?stream={name}", source=f"127.0.3.{number}", window=4_096)
            for number, name in enumerate(names, 1)
        ]
        for client in clients:
            swarm.join(client)
        swarm.until(lambda: all(len(client.texts) >= 2 for client in clients), "all have the book")
        with Feeding(broker.url, market, 2_000, snapshots=()) as feeding:
            closed = 'peatio_ws_closes_total{by="gateway",code="4413"}'
            wait_until(lambda: gateway.metric(closed) > 0, "the reader of all increments is closed")
        last = feeding.sent
        before = [len(client.texts) for client in clients]  # nobody has read since they had the book
        swarm.until(lambda: all(f'"sequence":{last}' in client.texts[-1] for client in clients[:2]), "the newest state")
        swarm.until(lambda: clients[2].ended, "the end of the other one")
    assert [client.close for client in clients[:2]] == [None, None]
    assert gateway.metric(closed) == 1
    top, changes = (client.texts[seen:] for client, seen in zip(clients[:2], before, strict=False))
    (book,) = market.books([last]).values()
    assert sides(next(iter(json.loads(top[-1]).values()))) == best(book, 20)
    assert any("-snap" in text for text in changes), "what it missed came as a book"
