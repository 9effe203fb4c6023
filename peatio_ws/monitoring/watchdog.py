"""The watchdog of the event loop: logs the function that blocks it.

Knows gevent's loop; does not know handlers or connections.
"""

from __future__ import annotations

import sys
import time
import traceback
from types import FrameType
from typing import Final

import gevent
import structlog
from gevent import monkey
from gevent.hub import Hub

from peatio_ws.monitoring.throttled_warnings import Throttle

log = structlog.get_logger("peatio_ws.monitoring.watchdog")

LOG_SECONDS: Final = 60.0
"""The same function is logged once in this time, with the number of times it was left out."""
MOST_FRAMES: Final = 15
_sleep: Final = monkey.get_original("time", "sleep")
_start_thread: Final = monkey.get_original("_thread", "start_new_thread")


class Watchdog:
    """Watches this thread's loop from a native thread, and logs what blocks it.

    gevent's monitor (26.9.0) adds a cost to each greenlet switch, and its report lists every greenlet. With 10,000 of
    them, a report blocks the loop for another 2.7 s.

    Args:
        seconds: how long the loop may be blocked.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._hub = gevent.get_hub()
        self._stopped = False
        self._throttle = Throttle()

    def start(self) -> None:
        """Start watching. The interval between checks is half of `seconds`."""
        # Before the first turn of the loop, the process is starting, and nothing is logged.
        _start_thread(self._run, (self._hub.loop.iteration,))

    def stop(self) -> None:
        """Stop at the next check."""
        self._stopped = True

    def _run(self, turn: int) -> None:
        since, logged = 0.0, True
        while True:
            _sleep(self._seconds / 2)
            if self._stopped:
                return
            now, frame = time.monotonic(), sys._current_frames().get(self._hub.thread_ident)
            if frame is None:
                return
            if self._hub.loop.iteration != turn or frame.f_code is Hub.run.__code__:  # it turns, or is idle
                turn, since, logged = self._hub.loop.iteration, now, False
            elif not logged and now - since >= self._seconds:
                logged = True
                self._log(frame, now, now - since)
            del frame

    def _log(self, frame: FrameType, now: float, seconds: float) -> None:
        code = frame.f_code
        left_out = self._throttle.left_out(code, now, LOG_SECONDS)
        if left_out is None:
            return
        log.warning(
            "event loop blocked; use in_thread() for blocking work",
            seconds=round(seconds, 3),
            place=f"{code.co_filename}:{frame.f_lineno}",
            left_out=left_out,
            stack="".join(traceback.format_stack(frame)[-MOST_FRAMES:]),
        )
