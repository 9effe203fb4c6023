"""Tells an increment that is repeated or overtaken by a snapshot from one of a sequence that has started again.

A matching engine that restarts may count from 0 again, and publish no snapshot. Pure: knows no book.
"""

from __future__ import annotations

from collections import deque
from typing import Final

RESTART: Final = 3
"""After this many increments in a row that ascend from a lower number, the sequence has restarted."""
MOST_OVERTAKEN: Final = 1_000
"""A worker that has just started may be this many increments behind the book that another worker sends."""
REPEATS_REMEMBERED: Final = 32
"""Increments that a publisher may repeat after it lost its connection, without being mistaken for a restart."""


class RestartDetector:
    """The numbers of the last increments of one stream.

    Attributes:
        latest: number of the last increment, even of an old one; None before the first, and if it had none.
    """

    __slots__ = ("_old_in_a_row", "_overtaken_from", "_recent", "latest")

    def __init__(self) -> None:
        self.latest: int | None = None
        self._recent: deque[int] = deque(maxlen=REPEATS_REMEMBERED)  # hashes of the last increments that were new
        self._old_in_a_row = 0  # consecutive increments that are not new and ascend
        self._overtaken_from: int | None = None  # see `on_adopted`

    def on_adopted(self, sequence: int) -> None:
        """Another worker's book of this moment replaces the content. This worker may yet receive increments in it."""
        self._overtaken_from = sequence - MOST_OVERTAKEN

    def on_new(self, sequence: int | None, body: bytes) -> None:
        """Remember an increment that is newer than all before."""
        self.latest, self._old_in_a_row = sequence, 0
        self._recent.append(hash(body))

    def on_old(self, sequence: int, body: bytes) -> bool:
        """Count an increment whose number is not new. Return whether it shows that the sequence has restarted.

        Not counted: increments received before, and those that continue from the last one, because a snapshot has
        overtaken them; and the first ones of a worker, if it adopted a book that contains them.
        """
        if hash(body) in self._recent:
            return False
        if self.latest is None:
            goes_on = self._overtaken_from is not None and sequence > self._overtaken_from
        else:
            goes_on = sequence == self.latest + 1
        if self._old_in_a_row:
            self._old_in_a_row = self._old_in_a_row + 1 if goes_on else 1
        elif not goes_on:
            self._old_in_a_row = 1
        self.latest = sequence
        if self._old_in_a_row < RESTART:
            return False
        self._old_in_a_row = 0
        return True
