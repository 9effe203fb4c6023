"""Keeps a background greenlet alive, or ends the worker: never silence."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Final

import gevent
import structlog

from peatio_ws.concurrency.backoff import RESTART_PAUSES, Backoff

log = structlog.get_logger("peatio_ws.concurrency.supervision")

MAX_RESTARTS: Final = 6
STEADY_SECONDS: Final = 60.0
"""A background greenlet that ran for so long had its earlier failures for nothing."""


def supervise(name: str, loop: Callable[[], None]) -> None:
    """Run a loop that should not end; if it fails, say so and start it again, with growing pauses.

    If that does not help, the worker ends, to be started anew: better than one that serves and hears nothing.
    """
    failures, backoff = 0, Backoff(*RESTART_PAUSES, jitter=0)
    while failures < MAX_RESTARTS:
        started = time.monotonic()
        try:
            loop()
            return
        except (gevent.GreenletExit, SystemExit, KeyboardInterrupt):
            raise  # it is told to end
        except BaseException:  # a gevent.Timeout that belongs to nobody is no Exception
            log.exception("background greenlet failed; starting it again", greenlet=name)
        if time.monotonic() - started > STEADY_SECONDS:
            failures = 0
            backoff.reset()
        failures += 1
        gevent.sleep(backoff.next_pause())
    log.critical("background greenlet cannot be kept alive; this worker ends", greenlet=name)
    signal.raise_signal(signal.SIGTERM)
