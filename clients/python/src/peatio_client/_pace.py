"""The message rate of a client: the gateway closes a connection (1008) that sends too many messages. Knows no clock and
no socket.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final

AT_ONCE: Final = 20
"""Messages about streams and requests at once, and per second (`A_SECOND`): less than the 60 and 10 that the gateway
allows by default, because tokens and requests for snapshots need messages too."""
A_SECOND: Final = 8.0
PIECE: Final = 100
"""Streams in a message; `PIECE_CHARACTERS` limits the characters of their names together."""
PIECE_CHARACTERS: Final = 4000
MOST_SLOWER: Final = 16


class Pace:
    """The message rate of one client, over all its connections."""

    def __init__(self) -> None:
        self._slower = 1
        self._allowance, self._since = float(AT_ONCE), -math.inf

    def connected(self, now: float) -> None:
        """Start with a full allowance on a new connection."""
        self._allowance, self._since = AT_ONCE / self._slower, now

    def slow_down(self) -> None:
        """Halve the rate and the size of messages: the gateway found the client too fast."""
        self._slower = min(MOST_SLOWER, 2 * self._slower)

    def wait(self, now: float) -> float:
        """Return the seconds until the next message may be sent. With 0, the message counts as sent."""
        a_second = A_SECOND / self._slower
        more = max(0.0, now - self._since) * a_second
        self._allowance, self._since = min(AT_ONCE / self._slower, self._allowance + more), now
        if self._allowance < 1 - 1e-9:
            return (1 - self._allowance) / a_second
        self._allowance -= 1
        return 0.0

    def piece(self, names: Iterable[str]) -> list[str]:
        """Return the names that fit into one message."""
        return next(self.pieces(names), [])

    def pieces(self, names: Iterable[str]) -> Iterator[list[str]]:
        """Yield all names, in groups that fit into one message."""
        piece, characters = list[str](), 0
        for name in names:
            full = len(piece) >= PIECE // self._slower or characters + len(name) > PIECE_CHARACTERS // self._slower
            if piece and full:
                yield piece
                piece, characters = [], 0
            piece.append(name)
            characters += len(name)
        if piece:
            yield piece
