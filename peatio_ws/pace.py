"""When greenlets that always have something to do let others run; how fast the broker is read."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Final

import gevent
import gevent.event

GATHER_SECONDS: Final = 0.0005
"""How long deliveries that come close together are waited for. It comes to 1.1 ms: epoll takes whole milliseconds."""
BUSY_SECONDS: Final = 0.008
"""How long the loop may go on without letting other greenlets run."""
TURN_SECONDS: Final = 0.01
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


class Pace:
    """When the loop lets others run, and when it waits for more to come, to deliver it together.

    A delivery that is waited for costs several times one that is there already (epoll, two switches of greenlets, cold
    caches). Once they come closer together than `GATHER_SECONDS`, that time is given them to gather: at 2,000 a second
    it saves a third of the CPU for each and costs 0.7 ms on average. One that comes alone goes out at once.
    """

    def __init__(self) -> None:
        self._ready = self._yielded = time.monotonic()  # for the next batch; for other greenlets, the last time

    def rest(self, connection: Any) -> None:
        """After each batch. `connection` tells how it came, if it is an `BufferedConnection`."""
        transport = getattr(connection, "transport", None)
        waited_until: float = getattr(transport, "rested", 0.0)
        if getattr(transport, "drained", False) and waited_until - self._ready < GATHER_SECONDS:
            gevent.sleep(GATHER_SECONDS)
            self._ready = self._yielded = time.monotonic()
            return
        self._ready = time.monotonic()
        if self._ready - max(self._yielded, waited_until) > BUSY_SECONDS:
            gevent.sleep(1e-6)  # sleep(0) would hardly let I/O run
            self._ready = self._yielded = time.monotonic()
