"""Work that holds the CPU, and with it everybody: a way to take it off the loop.

Knows gevent; knows nothing of handlers and connections.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import gevent

P = ParamSpec("P")
R = TypeVar("R")


def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function in a native thread of the worker's pool; this greenlet waits for it, everybody else goes on.

    For work that computes for more than some milliseconds, and for libraries that wait in C, where gevent's patches do
    not reach. The function must not touch greenlets: no `ws`, no `session`.

    Returns:
        What it returns.

    Raises:
        BaseException: what it raises.
    """
    result, error = gevent.get_hub().threadpool.apply(_outcome, (function, args, kwargs))
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


def _outcome(function: Callable[..., Any], args: Any, kwargs: Any) -> tuple[Any, BaseException | None]:
    """The pool would write a traceback of its own for what falls out of the function (gevent 26.9.0)."""
    try:
        return function(*args, **kwargs), None
    except BaseException as error:
        return None, error
