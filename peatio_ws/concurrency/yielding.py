"""How greenlets that always have something to do let others run."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Final

import gevent
import gevent.event

TURN_SECONDS: Final = 0.001
"""How long all clients together may keep the hub with what they send."""


class _Turn:
    """The clients' turn of a hub's loop.

    Attributes:
        iteration: of the loop, in which `let_others_run` was last called.
        began: the first time that it was, in seconds.
        waiting: greenlets that wait for a turn, the longest first. Only the first looks at each turn of the loop
            whether there is time; each of the others is woken by the one before it, so that a thousand cost no more.
    """

    __slots__ = ("began", "iteration", "waiting")

    def __init__(self) -> None:
        self.iteration, self.began, self.waiting = -1, 0.0, deque[gevent.event.Event]()


def let_others_run() -> None:
    """Switch to the hub until it is this greenlet's turn, if clients have had `TURN_SECONDS` of the hub's loop already.

    For whoever reads from a client, before each read and before what was read is looked at. gevent's recv() switches
    only when there is nothing to read (26.9.0): a client that sends faster than it is read would keep the hub from
    everybody else, and from every timeout. And a hundred clients that are ready at once would each take a turn: all of
    them together have one, in the order in which they came.
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
            gevent.sleep(1e-6)
    finally:
        if turn.waiting[0] is first:
            turn.waiting.popleft()
            if turn.waiting:
                turn.waiting[0].set()
        else:
            turn.waiting.remove(first)


def _is_time_left(hub: Any, turn: _Turn) -> bool:
    # Not by the loop's own time: whoever starts a timer sets that (26.9.0).
    iteration, now = hub.loop.iteration, time.monotonic()
    if iteration != turn.iteration:
        turn.iteration, turn.began = iteration, now
        return True
    return now - turn.began <= TURN_SECONDS
