"""Colours for JSON on a terminal. Every character of it stays as it came."""

from __future__ import annotations

import re
from typing import Final

import click

_PIECE: Final = re.compile(
    r'(?P<name>"(?:[^"\\]|\\.)*"(?=\s*:))|(?P<text>"(?:[^"\\]|\\.)*")|(?P<value>[^\s\[\]{},:"]+)'
)
"""The pieces of JSON (RFC 8259) that have a colour; the rest is punctuation and white space."""
_COLORS: Final = {"name": "blue", "text": "green", "value": "yellow"}
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Characters that control a terminal. JSON may contain some of them unescaped."""


def colored(frame: str) -> str:
    """Return JSON with colours, and unchanged otherwise: `9120.50` stays `9120.50`. Control characters are escaped."""
    return _PIECE.sub(_color, _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", frame))


def _color(piece: re.Match[str]) -> str:
    return click.style(piece[0], fg=_COLORS[str(piece.lastgroup)])
