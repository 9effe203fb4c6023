"""Restarts background greenlets that fail, or ends the worker. A greenlet never ends silently."""

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
"""After a run of this length, earlier failures of the greenlet no longer count."""


def supervise(name: str, loop: Callable[[], None]) -> None:
    """Run a loop that should not end. If it fails, log the failure and restart the loop after a growing pause.

    After `MAX_RESTARTS` failures the worker ends, and gunicorn replaces it. A worker that serves clients without
    receiving events would be worse.
    """
    failures, backoff = 0, Backoff(*RESTART_PAUSES, jitter=0)
    while failures < MAX_RESTARTS:
        started = time.monotonic()
        try:
            loop()
            return
        except (gevent.GreenletExit, SystemExit, KeyboardInterrupt):
            raise  # the greenlet or the process is asked to end
        except BaseException:  # a stray gevent.Timeout is not an Exception
            log.exception("background greenlet failed; restarting it", greenlet=name)
        if time.monotonic() - started > STEADY_SECONDS:
            failures = 0
            backoff.reset()
        failures += 1
        gevent.sleep(backoff.next_pause())
    log.critical("background greenlet keeps failing; worker ends", greenlet=name)
    signal.raise_signal(signal.SIGTERM)
