"""A gateway with the handlers of `bench.handlers`: each a way to keep a connection, or everybody, waiting."""

from __future__ import annotations

import time
from typing import Any

from peatio_ws import Gateway, in_thread

application = gateway = Gateway.from_env()


@gateway.on("sleep")
def sleep(session: Any, message: dict[str, Any]) -> None:
    """Waits, as for a slow database."""
    time.sleep(message["seconds"])


@gateway.on("raise")
def fail(session: Any, message: dict[str, Any]) -> None:
    """Has a bug."""
    raise RuntimeError("a bug")


@gateway.on("thread")
def thread(session: Any, message: dict[str, Any]) -> None:
    """Computes, off the loop."""
    in_thread(compute, message["seconds"])
    session.reply({"done": "thread"})


@gateway.on("loop")
def loop(session: Any, message: dict[str, Any]) -> None:
    """Computes, and holds everybody."""
    compute(message["seconds"])
    session.reply({"done": "loop"})


def compute(seconds: float) -> None:
    """Use so much CPU of this thread."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        sum(range(1000))
