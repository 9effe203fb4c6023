"""The limit of stream names that the clients of a worker may invent. Each name is held once.

Pure. Does not know which client has which names (`session.py`), nor their subscribers (`routing/channels.py`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

from peatio_ws.protocol.stream_syntax import Kind, kind_of

ALWAYS_ALLOWED: Final = 20
"""Streams that a connection may always have, so that a flood of names does not stop a client that only wants its
market."""


class StreamNameLimit:
    """A limit for names that no other client of the worker has. A shared name costs a connection 40 bytes, and only
    `WEBSOCKET_MAX_STREAMS` limits those. An invented name costs 150 bytes.

    Args:
        is_held: whether the worker holds a name already: a publisher used it, or another client asked for it.
        held: returns how many names the worker holds.
        most: the limit (`WEBSOCKET_MAX_STREAM_NAMES`).

    Attributes:
        most: see above.
        pending: names that were granted, but that the worker does not hold yet because it waits for the broker.
        refused: how many names were refused since this was last set to 0.
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
            return name  # private names are not in the tables
        if streams >= ALWAYS_ALLOWED and self._held() + self.pending >= self.most:
            self.refused += 1
            return None
        return name
