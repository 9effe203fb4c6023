"""Warnings that would repeat: one at a time for each subject, with the number of those that were left out.

Pure: the caller has the clock and the log.
"""

from __future__ import annotations

from collections.abc import Hashable


class Throttle:
    """Decides which of many equal warnings are logged.

    Subjects are never forgotten; the caller keeps them few.

    Args:
        most: how many are logged within the time that the caller gives.
    """

    def __init__(self, most: int = 1) -> None:
        self._most = most
        self._logged: dict[Hashable, tuple[float, int]] = {}  # when a window began, and how many have come in it

    def left_out(self, subject: Hashable, now: float, seconds: float) -> int | None:
        """Return how many warnings about a subject were left out in the window before, once, if this one may be logged;
        else None.

        Args:
            now: in seconds, by whatever clock.
            seconds: how long a window is; it begins with the first warning that is logged.
        """
        began, count = self._logged.get(subject, (-seconds, 0))
        if now - began < seconds:
            self._logged[subject] = (began, count + 1)
            return 0 if count < self._most else None
        self._logged[subject] = (now, 1)
        return max(0, count - self._most)
