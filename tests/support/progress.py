"""The progress of a long command on a terminal: one line that is overwritten."""

from __future__ import annotations

import sys
import time

EACH = 0.5
"""Seconds between two updates."""
_shown = 0.0


def tell(text: str) -> None:
    """Show the progress if standard error is a terminal, at most once per interval."""
    global _shown
    now = time.monotonic()
    if sys.stderr.isatty() and now - _shown > EACH:
        _shown = now
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def end() -> None:
    """Remove the progress line."""
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
