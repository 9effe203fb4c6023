"""`listen --follow`: connects again when a connection ends and resumes, and gives up where that would not help."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from peatio_ws.cli.listener.client import ENOUGH, ListenResult, ListenTarget
from peatio_ws.cli.listener.replay import BEGIN
from peatio_ws.concurrency.backoff import Backoff

PAUSES: Final = (1.0, 30.0)
"""First and longest pause before connecting again, in seconds."""


def follow(
    target: ListenTarget,
    run: Callable[[ListenTarget], ListenResult],
    say: Callable[[str], object],
    sleep: Callable[[float], object] = time.sleep,
) -> ListenResult:
    """Listen until the target's limit, Ctrl-C, or an end after which the gateway would refuse the client again.

    Each connection with a token resumes from the last cursor of the connections before.

    Args:
        run: connects once.
        say: is given why a connection ended, and when the next one begins.
        sleep: waits for this many seconds.
    """
    backoff, events, began = Backoff(*PAUSES), 0, time.monotonic()
    cursor = target.resume or BEGIN
    while True:
        left = None if target.seconds is None else began + target.seconds - time.monotonic()
        if left is not None and left <= 0:
            return ListenResult(ENOUGH)
        count = None if target.count is None else target.count - events
        end = run(replace(target, seconds=left, count=count, resume=cursor))
        if end.again is None:
            return end
        events += end.events
        cursor = end.cursor or cursor
        if end.events:
            backoff.reset()
        pause = max(backoff.next_pause(), end.again)
        if left is not None:
            pause = min(pause, max(0.0, began + (target.seconds or 0) - time.monotonic()))
        say(f"{end.why}; connecting again in {pause:.0f} s")
        try:
            sleep(pause)
        except KeyboardInterrupt:
            return ListenResult(ENOUGH)
