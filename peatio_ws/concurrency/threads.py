"""Runs work that occupies the CPU in a native thread, so that the event loop continues."""

from __future__ import annotations

import contextvars
import sys
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

import gevent

P = ParamSpec("P")
R = TypeVar("R")
TURN_SECONDS: Final = 0.00005
"""Python's switch interval while a thread computes. The event loop releases the GIL at each write. With Python's
default of 5 ms, an event for 200 clients would take as long as the thread's work."""


def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function in a native thread of the worker's pool. Only the calling greenlet waits for it.

    Use it for work that computes for more than a few milliseconds, and for libraries that wait in C code, which gevent
    cannot patch. The function must not touch greenlets: no `ws`, no `session`.

    Returns:
        The function's result.

    Raises:
        BaseException: any exception of the function.
    """
    with _short_switch_interval:
        # The function sees the caller's context variables, as in `asyncio.to_thread`: of OpenTelemetry, for example.
        call = contextvars.copy_context().run
        result, error = gevent.get_hub().threadpool.apply(call, (_outcome, function, args, kwargs))
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


class _ShortSwitchInterval:
    """A context in which Python switches threads more often. Any number of greenlets can be in it."""

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


_short_switch_interval: Final = _ShortSwitchInterval()


def _outcome(function: Callable[..., Any], args: Any, kwargs: Any) -> tuple[Any, BaseException | None]:
    """Call a function, and return its result or its exception.

    The pool would print a traceback for an exception that leaves the function (gevent 26.9.0).
    """
    try:
        return function(*args, **kwargs), None
    except BaseException as error:
        return None, error
