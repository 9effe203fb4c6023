"""How the asyncio client asks for a token and for headers."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from peatio_client.events import NoToken

Result = TypeVar("Result")


class Asked(Generic[Result]):
    """A function of the user, called in a separate task, one call at a time.

    Args:
        name: the name of the function in error texts.
    """

    def __init__(self, name: str, function: Callable[[], Awaitable[Result]]) -> None:
        self._name, self._function = name, function
        self._given_up = False
        self._call: asyncio.Future[Result] | None = None  # a running call, or an unused result

    async def result(self, seconds: float) -> Result | None:
        """Return or raise the result of the function; None after `seconds`, or after `give_up`. A call that takes
        longer continues, and the next `result` returns its result.

        Raises:
            NoToken: the call was cancelled elsewhere.
        """
        if self._given_up:
            return None
        if (call := self._call) is None:
            call = self._call = asyncio.ensure_future(self._function())
            call.add_done_callback(look_at)
        await asyncio.wait([call], timeout=seconds)
        if self._given_up or not call.done():
            return None
        self._call = None
        if call.cancelled():
            raise NoToken(f"the {self._name} was cancelled")
        return call.result()

    def give_up(self) -> None:
        """Cancel the running call, and do not start another one."""
        self._given_up = True
        if self._call is not None:
            self._call.cancel()


async def awaited(result: Any) -> Any:
    """Return the result of a function, or of a coroutine function."""
    return await result if inspect.isawaitable(result) else result


def look_at(task: asyncio.Future[Any]) -> None:
    """Keep asyncio from reporting an exception of a task that ends after the client was closed."""
    if not task.cancelled():
        task.exception()
