"""The watchdog of the event loop: logs the function that blocks it.

Knows gevent's loop; does not know handlers or connections.
"""

from __future__ import annotations

import math
import sys
import time
import traceback
from types import CodeType, FrameType
from typing import Final, NamedTuple

import gevent
import structlog
from gevent import monkey
from gevent.hub import Hub

from peatio_ws.monitoring.throttled_warnings import Throttle

log = structlog.get_logger("peatio_ws.monitoring.watchdog")

LOG_SECONDS: Final = 60.0
"""Of the blocks shorter than `LONG_SECONDS`, one is logged in this time for each function, with the number left out."""
LONG_SECONDS: Final = 1.0
"""Blocks of at least this length are all logged."""
LASTING_SECONDS: Final = 5.0
"""A block of at least this length is also logged while it lasts, because it may never end."""
MOST_FRAMES: Final = 15
UNKNOWN: Final = "unknown"
_sleep: Final = monkey.get_original("time", "sleep")
_start_thread: Final = monkey.get_original("_thread", "start_new_thread")


class Watchdog:
    """Watches this thread's loop from a native thread, and logs what blocked it and for how long.

    The stack is taken as soon as a block is longer than `seconds`, and logged when the block ends. If a C function
    keeps the GIL, this thread can take the stack only afterwards. If the loop has already continued then, the place is
    logged as unknown.

    gevent's monitor (26.9.0) adds a cost to each greenlet switch, and its report lists every greenlet. With 10,000 of
    them, a report blocks the loop for another 2.7 s.

    Args:
        seconds: how long the loop may be blocked. Blocks are measured to within this time.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._hub = gevent.get_hub()
        self._stopped = False
        self._throttle = Throttle()

    def start(self) -> None:
        """Start watching. The interval between checks is half of `seconds`."""
        _start_thread(self._run, (self._hub.loop.iteration,))

    def stop(self) -> None:
        """Stop at the next check."""
        self._stopped = True

    def _run(self, turn: int) -> None:
        # Before the first turn of the loop, the process is starting, and nothing is logged.
        since, computed, block = math.inf, 0.0, None
        while True:
            _sleep(self._seconds / 2)
            if self._stopped:
                return
            now, used = time.monotonic(), time.process_time()
            frame = sys._current_frames().get(self._hub.thread_ident)
            if frame is None:
                return
            seconds = now - since
            if self._hub.loop.iteration != turn or frame.f_code is Hub.run.__code__:  # it turns, or is idle
                if block is not None:
                    self._log(block, now, seconds)
                elif seconds >= max(LONG_SECONDS, 2 * self._seconds) and used - computed >= seconds / 2:
                    # This thread had to wait although the process computed: a C function kept the GIL.
                    self._log(_Block(None, UNKNOWN, ""), now, seconds)
                turn, since, computed, block = self._hub.loop.iteration, now, used, None
            elif block is None and seconds >= self._seconds:
                block = _Block.of(frame)
            elif block is not None and not block.lasting and seconds >= LASTING_SECONDS:
                block = block._replace(lasting=True)
                log.warning(
                    "event loop still blocked; use in_thread() for blocking work",
                    seconds=round(seconds, 3),
                    place=block.place,
                    stack=block.stack,
                )
            del frame

    def _log(self, block: _Block, now: float, seconds: float) -> None:
        """Log a block that has ended, unless too many short ones of the same function have been logged."""
        left_out = None
        if seconds < LONG_SECONDS:
            left_out = self._throttle.left_out(block.code, now, LOG_SECONDS)
            if left_out is None:
                return
        log.warning(
            "event loop blocked; use in_thread() for blocking work",
            seconds=round(seconds, 3),
            place=block.place,
            left_out=left_out or 0,
            stack=block.stack,
        )


class _Block(NamedTuple):
    """What blocks the loop.

    Attributes:
        code: the innermost function; None if unknown.
        place: its file and line.
        lasting: whether the block has been logged while it lasts.
    """

    code: CodeType | None
    place: str
    stack: str
    lasting: bool = False

    @classmethod
    def of(cls, frame: FrameType) -> _Block:
        code = frame.f_code
        stack = "".join(traceback.format_stack(frame)[-MOST_FRAMES:])
        return cls(code, f"{code.co_filename}:{frame.f_lineno}", stack)
