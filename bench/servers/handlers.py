"""A gateway with the handlers of `bench.handlers`: each a way to keep a connection, or everybody, waiting."""

from __future__ import annotations

import hashlib
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


@gateway.on("library")
def library(session: Any, message: dict[str, Any]) -> None:
    """Has a library compute, off the loop, that lets the interpreter go meanwhile: a password's hash."""
    in_thread(digest, message["seconds"])
    session.reply({"done": "library"})


@gateway.on("thread")
def thread(session: Any, message: dict[str, Any]) -> None:
    """Computes in Python, off the loop."""
    in_thread(compute, message["seconds"])
    session.reply({"done": "thread"})


@gateway.on("loop")
def loop(session: Any, message: dict[str, Any]) -> None:
    """Computes, and holds everybody."""
    compute(message["seconds"])
    session.reply({"done": "loop"})


def digest(seconds: float) -> None:
    """Use so much CPU of this thread, in C."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 20_000)


def compute(seconds: float) -> None:
    """Use so much CPU of this thread."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        sum(range(1000))
