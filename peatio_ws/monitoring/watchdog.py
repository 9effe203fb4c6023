"""A watch over the loop: names in the log what keeps it from turning.

Knows gevent's loop; knows nothing of handlers and connections.
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
"""The same function is named once in this time, with how many times it was not."""
MOST_FRAMES: Final = 15
_sleep: Final = monkey.get_original("time", "sleep")
_start_thread: Final = monkey.get_original("_thread", "start_new_thread")


class Watchdog:
    """Looks at this thread's loop from a native thread, and names in the log what keeps it from going round.

    gevent's own monitor (26.9.0) costs something at each switch of greenlets, and its report tells of every greenlet
    there is: with 10,000 of them it takes 2.7 s, in which nobody else runs either.

    Args:
        seconds: how long the loop may be held.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._hub = gevent.get_hub()
        self._stopped = False
        self._throttle = Throttle()

    def start(self) -> None:
        """Begin; half of the time that is given is what lies between two looks."""
        # What holds the loop before it has gone round is the start of the process.
        _start_thread(self._run, (self._hub.loop.iteration,))

    def stop(self) -> None:
        """End, at the next look."""
        self._stopped = True

    def _run(self, turn: int) -> None:
        since, told = 0.0, True
        while True:
            _sleep(self._seconds / 2)
            if self._stopped:
                return
            now, frame = time.monotonic(), sys._current_frames().get(self._hub.thread_ident)
            if frame is None:
                return
            if self._hub.loop.iteration != turn or frame.f_code is Hub.run.__code__:  # it goes round, or is idle
                turn, since, told = self._hub.loop.iteration, now, False
            elif not told and now - since >= self._seconds:
                told = True
                self._log(frame, now, now - since)
            del frame

    def _log(self, frame: FrameType, now: float, seconds: float) -> None:
        code = frame.f_code
        untold = self._throttle.left_out(code, now, LOG_SECONDS)
        if untold is None:
            return
        log.warning(
            "the loop is held up, and with it every client of this worker; in_thread() takes such work off it",
            seconds=round(seconds, 3),
            place=f"{code.co_filename}:{frame.f_lineno}",
            untold=untold,
            stack="".join(traceback.format_stack(frame)[-MOST_FRAMES:]),
        )
