"""A gateway with the handlers of `bench.handlers`. They delay one connection, or all connections of the worker."""

from __future__ import annotations

import hashlib
import time
from typing import Any

from peatio_ws import Gateway, in_thread

application = gateway = Gateway.from_env()


@gateway.on("sleep")
def sleep(session: Any, message: dict[str, Any]) -> None:
    """Wait, as for a slow database."""
    time.sleep(message["seconds"])


@gateway.on("raise")
def fail(session: Any, message: dict[str, Any]) -> None:
    """Raise an exception."""
    raise RuntimeError("a bug")


@gateway.on("library")
def library(session: Any, message: dict[str, Any]) -> None:
    """Compute password hashes in a thread, with a library that releases the interpreter lock."""
    in_thread(digest, message["seconds"])
    session.reply({"done": "library"})


@gateway.on("thread")
def thread(session: Any, message: dict[str, Any]) -> None:
    """Compute in Python, in a thread."""
    in_thread(compute, message["seconds"])
    session.reply({"done": "thread"})


@gateway.on("loop")
def loop(session: Any, message: dict[str, Any]) -> None:
    """Compute on the event loop, which blocks all connections."""
    compute(message["seconds"])
    session.reply({"done": "loop"})


def digest(seconds: float) -> None:
    """Use this many CPU seconds in the current thread, in C."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 20_000)


def compute(seconds: float) -> None:
    """Use this many CPU seconds in the current thread, in Python."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        sum(range(1000))
