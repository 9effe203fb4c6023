"""The root of the package's exceptions, and codes with their texts."""

from __future__ import annotations

import enum
from typing import ClassVar, Self


class PeatioWsError(Exception):
    """Root of the package's exceptions: neither logged nor counted.

    Attributes:
        code: what happened, for programs. Decisions read this, never a text.
        text: what is wrong, for people.
        remedy: what to do; empty if there is nothing to say.
        event: the log event.
        level: the level of the log line; None if it is not logged.
        label: the label value under which metrics count it.
        close: the close code of a connection that it ends; None if it ends none.
    """

    code: object = None
    text = remedy = label = ""
    event: ClassVar[str] = ""
    level: str | None = None
    close: int | None = None

    @property
    def advice(self) -> str:
        """The text and the remedy, in one line."""
        return "; ".join(filter(None, (self.text, self.remedy)))


class ErrorCode(enum.Enum):
    """A code with what it means for people: its value, a text, and a remedy."""

    text: str
    remedy: str

    def __new__(cls, value: str, text: str = "", remedy: str = "") -> Self:
        member = object.__new__(cls)
        member._value_, member.text, member.remedy = value, text, remedy
        return member


def in_utf8(text: str) -> str:
    """Replace unpaired surrogates, which JSON can express and UTF-8 cannot. A client may have sent one."""
    return text.encode(errors="replace").decode()
