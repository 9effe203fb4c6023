"""Lets other greenlets run while many clients send data."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Final

import gevent
import gevent.event

TURN_SECONDS: Final = 0.001
"""Time that all clients together get per turn of the event loop."""
SHORTEST_SLEEP: Final = 1e-6
"""Seconds of a `gevent.sleep` that lets the event loop look at its sockets. `gevent.sleep(0)` hardly does (26.9.0)."""


class _Turn:
    """The clients' share of a hub's loop.

    Attributes:
        iteration: iteration of the loop in which `let_others_run` was last called.
        began: monotonic time of the first call in that iteration.
        waiting: greenlets that wait for a turn, oldest first. Only the first one checks the time in each turn of the
            loop, and wakes the next one when it leaves. So a thousand waiting greenlets cost no more than one.
    """

    __slots__ = ("began", "iteration", "waiting")

    def __init__(self) -> None:
        self.iteration, self.began, self.waiting = -1, 0.0, deque[gevent.event.Event]()


def let_others_run() -> None:
    """Wait for this greenlet's turn if clients have used up `TURN_SECONDS` of the current turn of the loop.

    Called by code that reads from a client, before each read and before the data is processed. gevent's recv() switches
    only if there is nothing to read (26.9.0). A client that sends faster than it is read would therefore block all
    other greenlets and all timeouts. And a hundred clients that are ready at once would each take a turn; with this
    function they share one, in order of arrival.
    """
    hub = gevent.get_hub()
    turn: _Turn | None = getattr(hub, "clients_turn", None)
    if turn is None:
        turn = hub.clients_turn = _Turn()
    if not turn.waiting and _is_time_left(hub, turn):
        return
    first = gevent.event.Event()
    turn.waiting.append(first)
    try:
        if turn.waiting[0] is not first:
            first.wait()
        while not _is_time_left(hub, turn):
            gevent.sleep(SHORTEST_SLEEP)
    finally:
        if turn.waiting[0] is first:
            turn.waiting.popleft()
            if turn.waiting:
                turn.waiting[0].set()
        else:
            turn.waiting.remove(first)


def _is_time_left(hub: Any, turn: _Turn) -> bool:
    # Not the loop's own time, because starting a timer updates it (26.9.0).
    iteration, now = hub.loop.iteration, time.monotonic()
    if iteration != turn.iteration:
        turn.iteration, turn.began = iteration, now
        return True
    return now - turn.began <= TURN_SECONDS
