"""Work that holds the CPU, and with it everybody: how it is named in the log, and how it is taken off the loop.

Knows gevent's loop; knows nothing of handlers and connections.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, ParamSpec, TypeVar

import gevent
import structlog
from gevent import monkey
from gevent.hub import Hub

from peatio_ws.throttled import Throttle

log = structlog.get_logger("peatio_ws.blocking")

P = ParamSpec("P")
R = TypeVar("R")

TELL_SECONDS: Final = 60.0
"""The same function is named once in this time, with how many times it was not."""
MOST_FRAMES: Final = 15
TURN_SECONDS: Final = 0.00005
"""Python's turn of a thread while one computes. The loop gives its own away at each write: with Python's 5 ms an event
for 200 clients would take as long as the thread does."""
_sleep: Final = monkey.get_original("time", "sleep")
_start_thread: Final = monkey.get_original("_thread", "start_new_thread")


def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function in a native thread of the worker's pool; this greenlet waits for it, everybody else goes on.

    For work that computes for more than some milliseconds, and for libraries that wait in C, where gevent's patches do
    not reach. The function must not touch greenlets: no `ws`, no `session`.

    Returns:
        What it returns.

    Raises:
        BaseException: what it raises.
    """
    with _short_turns:
        result, error = gevent.get_hub().threadpool.apply(_outcome, (function, args, kwargs))
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


class _ShortTurns:
    """Entered while something is computed in a thread, by any number of greenlets."""

    def __init__(self) -> None:
        self._computing, self._usual = 0, 0.0

    def __enter__(self) -> None:
        if not self._computing:
            self._usual = sys.getswitchinterval()
            sys.setswitchinterval(TURN_SECONDS)
        self._computing += 1

    def __exit__(self, *_: object) -> None:
        self._computing -= 1
        if not self._computing:
            sys.setswitchinterval(self._usual)


_short_turns: Final = _ShortTurns()


def _outcome(function: Callable[..., Any], args: Any, kwargs: Any) -> tuple[Any, BaseException | None]:
    """The pool would write a traceback of its own for what falls out of the function (gevent 26.9.0)."""
    try:
        return function(*args, **kwargs), None
    except BaseException as error:
        return None, error


class Watch:
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
                self._tell(frame, now, now - since)
            del frame

    def _tell(self, frame: FrameType, now: float, seconds: float) -> None:
        code = frame.f_code
        untold = self._throttle.left_out(code, now, TELL_SECONDS)
        if untold is None:
            return
        log.warning(
            "the loop is held up, and with it every client of this worker; in_thread() takes such work off it",
            seconds=round(seconds, 3),
            place=f"{code.co_filename}:{frame.f_lineno}",
            untold=untold,
            stack="".join(traceback.format_stack(frame)[-MOST_FRAMES:]),
        )
