"""How the blocking client asks for a token."""

from __future__ import annotations

import threading
from collections.abc import Callable

from peatio_client._credentials import checked


class Asked:
    """The token function, called on a separate thread, one call at a time.

    Args:
        token: the token function, or the token.
    """

    def __init__(self, token: str | Callable[[], str]) -> None:
        self._give: Callable[[], object] = token if callable(token) else lambda: token
        self._given_up = False
        self._answered: threading.Event | None = None  # of a running call, or an unused result
        self._token: object = None
        self._error: BaseException | None = None

    def token(self, seconds: float) -> object:
        """Return or raise the result of the function; None after `seconds`, or after `give_up`. A call that takes
        longer continues, and the next `token` returns its result."""
        if self._answered is None:
            self._token = self._error = None
            self._answered = threading.Event()
            threading.Thread(target=self._call, args=(self._answered,), name="peatio_client.token", daemon=True).start()
        if not self._answered.wait(seconds) or self._given_up:
            return None
        self._answered = None
        if self._error is not None:
            raise self._error
        return self._token

    def give_up(self) -> None:
        """Stop waiting for the result."""
        self._given_up = True
        if (answered := self._answered) is not None:
            answered.set()

    def _call(self, answered: threading.Event) -> None:
        try:
            token = self._give()
            self._token = checked(token)
        except BaseException as error:
            self._error = error
        answered.set()
