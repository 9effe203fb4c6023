"""What gunicorn's master does differently for a gateway. Knows gunicorn's `Arbiter`; knows no client and no broker."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Final

from gunicorn import arbiter

LOOK_SECONDS: Final = 0.01
"""How often an ending or reloading master looks at its workers."""


def prepare() -> None:
    """Change gunicorn's master; to be called from its hook `on_starting`."""
    _look_often()


def _look_often() -> None:
    """Let the master notice within `LOOK_SECONDS` that its last worker has ended.

    gunicorn (27.0.1) sleeps 0.1 s between two looks, and another 0.1 s after the one that found no worker any more. All
    these loops have a deadline of their own.
    """
    arbiter.time = SimpleNamespace(
        time=time.time, monotonic=time.monotonic, sleep=lambda seconds: time.sleep(min(seconds, LOOK_SECONDS))
    )
