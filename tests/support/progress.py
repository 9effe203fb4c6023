"""What a command that takes minutes shows on a terminal: one line, written over again."""

from __future__ import annotations

import sys
import time

EACH = 0.5
"""Seconds between two looks."""
_shown = 0.0


def tell(text: str) -> None:
    """Say how far it is, if standard error is a terminal and was not told a moment ago."""
    global _shown
    now = time.monotonic()
    if sys.stderr.isatty() and now - _shown > EACH:
        _shown = now
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def end() -> None:
    """Take the line away."""
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
