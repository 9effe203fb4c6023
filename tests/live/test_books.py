"""Order books under load: a client that connects at any time has the same book as the publisher."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

from tests.support.followers import UNPINGED, Feeding, Followers, Market
from tests.support.gateway import GatewayProcess, Publisher
from tests.support.servers import RabbitMQ

RATE = int(os.environ.get("PEATIO_WS_TEST_RATE") or 250)
"""Increments a second; `make views-long` sets 500."""
SECONDS = 7


# One worker has nothing that each of two has not; `make views-long` runs it, too.
@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.long), 2])
def test_500_clients_joining_at_any_time_have_the_same_book(
    start: Callable[..., GatewayProcess], broker: RabbitMQ, publisher: Publisher, workers: int
) -> None:
    gateway = start(**UNPINGED, WEB_CONCURRENCY=str(workers))
    market = Market(f"joins{workers}.ob", count=SECONDS * RATE)
    chance = random.Random(workers)
    # A moment is a number of increments. The feed pauses at each until its client has been added.
    moments = sorted(chance.randrange((SECONDS - 1) * RATE) for _ in range(450))
    with Followers(market) as followers:
        for number in range(50):  # before the first snapshot
            followers.join(gateway.port, by_message=bool(number % 2))
        followers.until(lambda: all(one.opened for one in followers.all), "the first fifty are connected")
        publisher.event(f"public.{market.name}-snap", market.snapshots([0])[0])
        followers.until(lambda: all(one.book for one in followers.all), "they have the first snapshot")
        with Feeding(broker.url, market, RATE, until=moments[0]) as feeding:
            for number, (moment, following) in enumerate(zip(moments, [*moments[1:], market.last], strict=True)):
                followers.until(lambda at=moment: feeding.sent >= at, "the next moment")
                joined = followers.join(gateway.port, by_message=bool(number % 2))
                if not number % 4:
                    followers.until(lambda one=joined: one.opened > 0, "it is connected before the next increments")
                feeding.go_on(following)
            followers.until(lambda: all(one.done for one in followers.all), "every follower has all increments")
            assert feeding.sent == market.last
        followers.check_books()
        assert len({one.sequence for one in followers.all}) > 100, "followers began at too few different sequences"
    assert "increments of a book" not in gateway.log(), "the gateway found a gap in the book"
