"""How `listen --follow` resumes: the cursor of a connection, and the end of the replay after a reconnection.

Speaks contract section 5. Knows no socket.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

BEGIN: Final = "1"
"""The `resume` of a first connection, which has no cursor yet."""
ECHO: Final = "replayed"
QUESTION: Final = {"event": "unsubscribe", "streams": [], "echo": ECHO}
"""A message without effect. The gateway answers it after it has sent the missed events."""


class Replay:
    """The replay of one connection.

    Args:
        resume: cursor of the last event of an earlier connection, `BEGIN` without one; None to not resume.
        note: is given a text about how the replay ended.

    Attributes:
        cursor: of the last event.
    """

    def __init__(self, resume: str | None, note: Callable[[str], object]) -> None:
        self.cursor = None if resume == BEGIN else resume
        self._note, self._events = note, 0
        self._resumes, self._is_due, self._runs = self.cursor is not None, False, False

    def on_frame(self, frame: dict[str, Any]) -> bool:
        """Follow a frame. Return whether it answers `QUESTION`."""
        if self._resumes and frame.get("echo") == ECHO:
            if self._runs:
                self._note(f"resumed: no event is missing; events replayed: {self._events}")
            self._runs = False
            return True
        if isinstance(place := frame.get("resume"), dict):
            self._on_place(place, is_answer="success" in frame)
        elif isinstance(cursor := frame.get("cursor"), str):
            self.cursor = cursor
            self._events += 1
        return False

    def question(self) -> dict[str, Any] | None:
        """Return `QUESTION` if it has to be sent once the gateway has confirmed token and streams, else None."""
        is_due, self._is_due = self._is_due, False
        return QUESTION if is_due else None

    def _on_place(self, place: dict[str, Any], is_answer: bool) -> None:
        self.cursor = place.get("cursor") or self.cursor
        if place.get("complete") is True:
            if is_answer and self._resumes:
                self._is_due = self._runs = True
        elif self._resumes or not is_answer:  # the answer to a first connection says nothing about events
            self._runs = False
            self._note("events may be missing: the gateway no longer has all events since the last cursor")
