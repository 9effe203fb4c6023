"""A gateway with all kinds of handlers, good and bad, in front of an application."""

from __future__ import annotations

import asyncio
import multiprocessing
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import gevent

from peatio_ws import ClientError, Disconnect, Gateway, in_thread, require_authenticated

SECRET = "something that only the log should know"
WAIT = 120.0


def legacy(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The wrapped application: it pushes, and answers with a page."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/go":
        _released.add(environ["QUERY_STRING"])
    if environ["PATH_INFO"] == "/push":
        taken = gateway.publisher.to_member("IDANN", "order", {"id": 77, "side": "buy"})
        return [repr(taken).encode()]
    return [f"legacy {environ['PATH_INFO']}".encode()]


_released = set[str]()


def wait_for(name: str) -> None:
    """Wait until a request for /go has this query."""
    until = time.monotonic() + WAIT
    while name not in _released and time.monotonic() < until:
        time.sleep(0.02)


def burn_for(name: str) -> None:
    """Wait for the same, but keep the CPU busy meanwhile."""
    until = time.monotonic() + WAIT
    while name not in _released and time.monotonic() < until:
        sum(range(100))


application = gateway = Gateway.from_env(app=legacy)


@gateway.websocket("/echo")
def echo(ws: Any) -> None:
    for message in ws:
        ws.send(message)


@gateway.websocket("/tools")
def tools(ws: Any) -> None:
    """Use what docs/handlers.md recommends for threads, processes and asyncio."""
    thread = threading.Thread(target=lambda: ws.send("thread"))
    thread.start()
    thread.join()
    ws.send(in_thread(asyncio.run, asyncio.sleep(0, "asyncio")))
    ws.send(subprocess.run(["echo", "program"], capture_output=True, check=True, text=True).stdout.strip())
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        ws.send(pool.submit(str, "process").result(timeout=WAIT))


@gateway.websocket("/ends")
def ends(ws: Any) -> None:
    """End as the client asks."""
    match ws.receive():
        case "return":
            return
        case "close":
            ws.close(4001, "as you wish")
        case "disconnect":
            raise Disconnect(4002, "go away")
        case "refuse":
            raise ClientError("not like this")
        case "exit":
            raise SystemExit(SECRET)
        case "timeout":
            raise gevent.Timeout(0, False)
        case "send late":
            ws.close()
            ws.send("too late")
        case _:
            raise RuntimeError(SECRET)


@gateway.websocket("/member")
def member(ws: Any) -> None:
    require_authenticated(ws)
    ws.send(f"{ws.member.uid} {ws.member.member_id} {ws.environ['QUERY_STRING']}")
    for name in ws:
        try:
            ws.subscribe(*name.split())
        except ClientError as error:
            ws.send(str(error))
        else:
            ws.send(f"subscribed to {name}")


@gateway.websocket("/slow")
def slow(ws: Any) -> None:
    """Wait for the seconds in the query or for /go, without reading."""
    ws.send("slow")
    query = ws.environ["QUERY_STRING"]
    if query.isdecimal():
        time.sleep(int(query))
    else:
        wait_for(query)
    ws.send("awake")


@gateway.websocket("/patient")
def patient(ws: Any) -> None:
    try:
        ws.receive(timeout=0.2)
    except TimeoutError:
        ws.send("nothing came")
    ws.send(ws.receive(timeout=WAIT))


@gateway.websocket("/endless")
def endless(ws: Any) -> None:
    """Send more than an outbox may hold, as fast as possible."""
    for _ in range(64):
        ws.send(b"x" * 262_144)


@gateway.on("who")
def who(session: Any, message: dict[str, Any]) -> None:
    require_authenticated(session)
    session.reply({"who": [session.uid, session.member_id, session.role, session.address], "said": message})


@gateway.on("bytes")
def as_they_are(session: Any, message: dict[str, Any]) -> None:
    session.reply(b'{"digits": 1.50}')


@gateway.on("wait")
def wait(session: Any, message: dict[str, Any]) -> None:
    wait_for(message["for"])
    session.reply({"waited": message["for"]})


@gateway.on("raise")
def fail(session: Any, message: dict[str, Any]) -> None:
    raise RuntimeError(SECRET)


@gateway.on("refuse")
def refuse(session: Any, message: dict[str, Any]) -> None:
    raise ClientError("no such order")


@gateway.on("leave")
def leave(session: Any, message: dict[str, Any]) -> None:
    raise Disconnect(4003, "enough")


@gateway.on("push")
def push(session: Any, message: dict[str, Any]) -> None:
    session.reply({"taken": gateway.publisher.to_stream("btcusd.trades", message["body"])})


@gateway.on("compute")
def compute(session: Any, message: dict[str, Any]) -> None:
    if "for" in message:
        in_thread(burn_for, message["for"])
    elif message["where"] == "thread":
        in_thread(burn, message["seconds"])
    else:
        burn(message["seconds"])
    session.reply({"computed": message["where"]})


@gateway.on("thread raises")
def thread_raises(session: Any, message: dict[str, Any]) -> None:
    in_thread(int, SECRET)


def burn(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        sum(range(100))
