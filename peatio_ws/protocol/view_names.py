"""The names of views: streams in the pace and depth that a client asks for (contract section 8).

Pure. What a view contains is in `orderbook/views.py`; who follows it, and when it is sent, in `routing/views.py`.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final

from peatio_ws.protocol.stream_syntax import Kind, kind_of

LEVELS: Final = (1, 5, 10, 20, 50)
"""How many levels of each side of a book a client may ask for."""
MILLISECONDS: Final = (100, 250, 500, 1000, 2000, 5000)
"""The paces that a client may ask for."""
DEFAULT_MILLISECONDS: Final = 500
"""The pace of the best levels if the name has none."""

_PACE: Final = "|".join(map(str, MILLISECONDS))
_of_top = re.compile(rf"(.+)-top@({'|'.join(map(str, LEVELS))})(?:/({_PACE})ms)?").fullmatch
_of_stream = re.compile(rf"(.+)@({_PACE})ms").fullmatch


class ViewKind(enum.Enum):
    CHANGES = "changes"
    """The prices of a book that changed since the frame before."""
    TOP = "top"
    """The best levels of a book."""
    LATEST = "latest"
    """The latest event of a stream."""


@dataclass(frozen=True, slots=True)
class View:
    """What a client asks for by the name of a view.

    Attributes:
        stream: the stream that is published; for both views of books, its `-inc`.
        seconds: the shortest time between two frames.
        levels: of each side; 0 except for `TOP`.
    """

    kind: ViewKind
    stream: str
    seconds: float
    levels: int = 0

    @property
    def is_of_book(self) -> bool:
        """Whether it is made from an order book."""
        return self.kind is not ViewKind.LATEST


def is_view(name: str) -> bool:
    """Return whether a stream's name asks for a view, if perhaps for one that does not exist."""
    return "@" in name.rpartition(".")[2]


def view_of(name: str) -> View | None:
    """Return the view with this name; None if there is no such view."""
    if not is_view(name):
        return None
    if found := _of_top(name):
        base, levels, pace = found.groups()
        return View(ViewKind.TOP, f"{base}-inc", int(pace or DEFAULT_MILLISECONDS) / 1000, int(levels))
    if not (found := _of_stream(name)):
        return None
    stream, pace = found.groups()
    if is_view(stream) or kind_of(stream) not in (Kind.PUBLIC, Kind.PREFIXED):
        return None
    kind = ViewKind.CHANGES if stream.endswith("-inc") else ViewKind.LATEST
    return View(kind, stream, int(pace) / 1000)


def published_stream(name: str) -> str:
    """Return the published stream from which a stream or a view is made."""
    view = view_of(name)
    return name if view is None else view.stream


def view_names(stream: str) -> tuple[str, ...]:
    """Return the names of all views of a published stream."""
    paced = tuple(f"{stream}@{pace}ms" for pace in MILLISECONDS)
    if not stream.endswith("-inc"):
        return paced
    tops = tuple(f"{stream.removesuffix('-inc')}-top@{levels}" for levels in LEVELS)
    return paced + tops + tuple(f"{top}/{pace}ms" for top in tops for pace in MILLISECONDS)
