"""The stream names that the clients of one worker keep it holding: how many it takes, and that it holds each once.

Pure. Which client has which names is the session's to know, who gets their events `channels.py`'s.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

from peatio_ws.protocol.stream_syntax import Kind, kind_of

ALWAYS_ALLOWED: Final = 20
"""Streams that a connection may have however many names the worker holds, so that a flood of names does not stop a
client that only wants its market."""


class StreamNameLimit:
    """A limit for names that no other client of the worker has. Names that are shared cost a connection 40 bytes each,
    and are limited by `WEBSOCKET_MAX_STREAMS` alone; an invented one costs 150.

    Args:
        is_held: whether the worker holds a name already: a publisher used it, or another client asked for it.
        held: how many names the worker holds.
        most: beyond so many, new ones are refused (`WEBSOCKET_MAX_STREAM_NAMES`).

    Attributes:
        most: see above.
        pending: names that were taken, and that the worker does not hold yet because the broker is waited for.
        refused: how many were, since this was last set to 0.
    """

    def __init__(self, is_held: Callable[[str], bool], held: Callable[[], int], most: int) -> None:
        self._is_held, self._held, self.most = is_held, held, most
        self.pending = self.refused = 0

    def claim(self, name: str, streams: int) -> str | None:
        """Return the name to keep, one object for all connections; None if there is no room for it.

        Args:
            streams: how many streams the connection has.
        """
        if self._is_held(name):
            return sys.intern(name)
        if kind_of(name) is Kind.PRIVATE:
            return name  # a member's, which the tables do not have
        if streams >= ALWAYS_ALLOWED and self._held() + self.pending >= self.most:
            self.refused += 1
            return None
        return name
