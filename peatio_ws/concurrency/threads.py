"""Running work that holds the CPU in a native thread, so that the loop goes on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

import gevent

P = ParamSpec("P")
R = TypeVar("R")
TURN_SECONDS: Final = 0.00005
"""Python's turn of a thread while one computes. The loop gives its own away at each write: with Python's 5 ms an event
for 200 clients would take as long as the thread does."""


def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function in a native thread of the worker's pool; this greenlet waits for it, everybody else goes on.

    For work that computes for more than some milliseconds, and for libraries that wait in C, where gevent's patches do
    not reach. The function must not touch greenlets: no `ws`, no `session`.

    Returns:
        What it returns.

    Raises:
        BaseException: what it raises.
    """
    with _short_switch_interval:
        result, error = gevent.get_hub().threadpool.apply(_outcome, (function, args, kwargs))
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


class _ShortSwitchInterval:
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


_short_switch_interval: Final = _ShortSwitchInterval()


def _outcome(function: Callable[..., Any], args: Any, kwargs: Any) -> tuple[Any, BaseException | None]:
    """The pool would write a traceback of its own for what falls out of the function (gevent 26.9.0)."""
    try:
        return function(*args, **kwargs), None
    except BaseException as error:
        return None, error
