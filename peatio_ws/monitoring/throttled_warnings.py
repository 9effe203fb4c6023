"""Limits repeated warnings to one per subject and time window, and counts those left out.

Pure: the caller passes the time, and writes the log.
"""

from __future__ import annotations

from collections.abc import Hashable


class Throttle:
    """Decides which of many equal warnings are logged.

    Subjects are never forgotten; the caller keeps them few.

    Args:
        most: number of warnings that are logged per window.
    """

    def __init__(self, most: int = 1) -> None:
        self._most = most
        self._logged: dict[Hashable, tuple[float, int]] = {}  # start of the window, and warnings in it

    def left_out(self, subject: Hashable, now: float, seconds: float) -> int | None:
        """Return None if a warning must not be logged, else the number of warnings left out since the last window.

        The number is returned once, with the first warning of a window; for further ones it is 0.

        Args:
            now: time in seconds, on any clock.
            seconds: length of a window, which begins with the first logged warning.
        """
        began, count = self._logged.get(subject, (-seconds, 0))
        if now - began < seconds:
            self._logged[subject] = (began, count + 1)
            return 0 if count < self._most else None
        self._logged[subject] = (now, 1)
        return max(0, count - self._most)
