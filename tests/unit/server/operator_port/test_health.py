"""Scrapes of many clients share one result."""

from __future__ import annotations

from typing import Any

import gevent
import pytest

from peatio_ws import testing
from peatio_ws.server.operator_port import health


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (("127.0.0.1", 8080), "127.0.0.1:8080"),
        (("::1", 8080, 0, 0), "[::1]:8080"),
        ("/run/peatio-ws/1.sock", "/run/peatio-ws/1.sock"),
        (b"\0abstract", "\0abstract"),
    ],
)
def test_addresses_where_clients_are_accepted_are_reported(name: Any, shown: str) -> None:
    assert health.address(name) == shown


def test_concurrent_scrapes_share_one_fresh_result() -> None:
    counted, going = [0], gevent.event.Event

    def run() -> tuple[list[bytes], int]:
        go = going()

        def render() -> bytes:
            counted[0] += 1
            number = counted[0]
            if number == 1:
                go.wait()
            return str(number).encode()

        scrapes = health.Scrapes(render)
        first = gevent.spawn(scrapes.text)
        gevent.sleep(0)
        while not counted[0]:
            gevent.sleep(0.001)
        others = [gevent.spawn(scrapes.text) for _ in range(50)]
        gevent.sleep(0)
        go.set()
        gevent.joinall([first, *others])
        return [one.value for one in (first, *others)], counted[0]

    texts, renders = testing._run(run)
    assert texts == [b"1"] + [b"2"] * 50
    assert renders == 2


def test_failing_scrape_raises_in_all_waiting_requests() -> None:
    def fails() -> bytes:
        raise TimeoutError("another worker does not come to an end")

    def run() -> list[Any]:
        scrapes = health.Scrapes(fails)
        waiting = [gevent.spawn(_error_of, scrapes) for _ in range(3)]
        gevent.joinall(waiting)
        return [one.value for one in waiting]

    assert testing._run(run) == [TimeoutError] * 3


def _error_of(scrapes: health.Scrapes) -> type[Exception] | None:
    try:
        scrapes.text()
    except Exception as error:
        return type(error)
    return None
