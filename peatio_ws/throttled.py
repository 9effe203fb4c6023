"""Warnings that would repeat: one at a time for each subject, with the number of those that were left out.

Pure: the caller has the clock and the log.
"""

from __future__ import annotations

from collections.abc import Hashable


class Throttle:
    """Decides which of many equal warnings are logged.

    Subjects are never forgotten; the caller keeps them few.
    """

    def __init__(self) -> None:
        self._logged: dict[Hashable, tuple[float, int]] = {}

    def left_out(self, subject: Hashable, now: float, seconds: float) -> int | None:
        """Return how many warnings about a subject were left out since its last one, if it may be logged now; else
        None.

        Args:
            now: in seconds, by whatever clock.
            seconds: the time between two warnings about a subject, at least.
        """
        logged_at, count = self._logged.get(subject, (-seconds, 0))
        if now - logged_at < seconds:
            self._logged[subject] = (logged_at, count + 1)
            return None
        self._logged[subject] = (now, 0)
        return count
