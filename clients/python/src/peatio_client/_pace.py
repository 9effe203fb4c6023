"""How often a client speaks: the gateway closes the connection (1008) of one that sends too many messages. Knows no
clock, and no socket.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final

AT_ONCE: Final = 20
"""Messages about streams at once, and in a second after that: a third and half of what the gateway allows by default,
for tokens and snapshots are asked for, too."""
A_SECOND: Final = 5.0
PIECE: Final = 100
"""Streams in a message, and characters of their names together."""
PIECE_CHARACTERS: Final = 4000
MOST_SLOWER: Final = 16


class Pace:
    """Of one client, over all its connections."""

    def __init__(self) -> None:
        self._slower = 1
        self._allowance, self._since = float(AT_ONCE), -math.inf

    def connected(self, now: float) -> None:
        """A new connection, of which the gateway has heard nothing yet."""
        self._allowance, self._since = AT_ONCE / self._slower, now

    def slow_down(self) -> None:
        """The gateway found it too fast."""
        self._slower = min(MOST_SLOWER, 2 * self._slower)

    def wait(self, now: float) -> float:
        """Seconds until the next message may be sent; 0 if one may, and then it counts as sent."""
        a_second = A_SECOND / self._slower
        more = max(0.0, now - self._since) * a_second
        self._allowance, self._since = min(AT_ONCE / self._slower, self._allowance + more), now
        if self._allowance < 1 - 1e-9:
            return (1 - self._allowance) / a_second
        self._allowance -= 1
        return 0.0

    def piece(self, names: Iterable[str]) -> list[str]:
        """As many of these names as one message has."""
        return next(self.pieces(names), [])

    def pieces(self, names: Iterable[str]) -> Iterator[list[str]]:
        """All of them, message by message."""
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
