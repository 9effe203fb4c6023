"""Clients of `clients/` in separate processes, connections that can be cut, and a gateway that closes every
connection.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from tests.support.fork_server import Fork, shared
from tests.support.gateway import WAIT

HERE = Path(__file__).parent
COMMANDS = {
    "python": ["tests.support.drive_client", "blocking"],
    "asyncio": ["tests.support.drive_client", "asyncio"],
    "node": ["node", str(HERE / "drive_client.mjs"), "ws"],
    # Also with the WebSocket of browsers: Node's own, which later versions have without a flag.
    "page": ["node", "--experimental-websocket", "--no-warnings", str(HERE / "drive_client.mjs"), "global"],
}
AUTHENTICATED = {"success": {"message": "Authenticated."}}
SUBSCRIBED = {"success": {"message": "subscribed", "streams": []}}


def start(words: Sequence[str], output: IO[str]) -> subprocess.Popen[bytes] | Fork:
    """Start a program of `COMMANDS`. The Python ones are forks: each would need a third of a second of CPU to load the
    client and its libraries.
    """
    if words[0] == "node":
        return subprocess.Popen(words, stdout=output)
    assert sys.__stderr__ is not None
    return shared("client").start(words, os.environ, output, sys.__stderr__)


class Driven:
    """A client that follows instructions and prints its callbacks, which are read as they arrive.

    Attributes:
        told: its callbacks: pairs of a name and an argument.
    """

    def __init__(self, language: str, url: str, **given: Any) -> None:
        self.language, self.told = language, list[tuple[str, Any]]()
        self._by_name: defaultdict[str, list[Any]] = defaultdict(list)
        self._orders: set[int] = set()
        self._changed = threading.Condition()
        words = [*COMMANDS[language], json.dumps({"url": url, **given})]
        end, theirs = os.pipe()
        with open(theirs, "w") as output:
            self._process = start(words, output)
        self._reader = threading.Thread(target=self._read, args=[end])
        self._reader.start()

    def _read(self, output: int) -> None:
        with open(output) as lines:
            for line in lines:
                name, what = json.loads(line)
                with self._changed:
                    self.told.append((name, what))
                    self._by_name[name].append(what)
                    if name == "event":
                        self._orders.add(what)
                    self._changed.notify_all()

    def all(self, name: str) -> list[Any]:
        return list(self._by_name[name])

    @property
    def orders(self) -> list[int]:
        return self.all("event")

    def wait(self, check: Callable[[], bool], what: str, seconds: float = 2 * WAIT) -> None:
        with self._changed:
            if not self._changed.wait_for(check, seconds):
                raise AssertionError(f"{self.language}: not within {seconds} s: {what}; told: {self.told[-30:]}")

    def wait_for(self, name: str, times: int = 1, seconds: float = 2 * WAIT) -> Any:
        """Return the argument of the last callback of this name, once there are this many."""
        self.wait(lambda: len(self.all(name)) >= times, f"{name}, {times} times", seconds)
        return self.all(name)[times - 1]

    def wait_for_order(self, number: int) -> None:
        self.wait(lambda: number in self._orders, f"order {number}")

    def close(self) -> None:
        self._process.kill()
        self._process.wait(WAIT)
        self._reader.join(WAIT)


class Line:
    """A port in front of another one, whose connections can be cut or go dead.

    Attributes:
        to: the port to which it carries new connections.
        carried: number of connections so far.
    """

    def __init__(self, port: int) -> None:
        self.to = port
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._dead: set[socket.socket] = set()
        self.closed = False
        self.carried = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self._listener.getsockname()[1]}/"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    if self.closed:
                        raise ConnectionRefusedError
                    far = socket.create_connection(("127.0.0.1", self.to))
                except OSError:
                    near.close()
                    continue
                self._pairs.append((near, far))
                self.carried += 1
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                if one not in self._dead:
                    other.sendall(data)
        if one not in self._dead:
            _reset(one, other)

    def cut(self) -> None:
        """Reset every open connection."""
        pairs, self._pairs = self._pairs, []
        for near, far in pairs:
            _reset(near, far)

    def go_dead(self) -> None:
        """Stop passing bytes on the open connections, without closing them."""
        self._dead.update(*self._pairs)

    def end(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts connections
        self._listener.close()
        self.cut()


def _reset(*sockets: socket.socket) -> None:
    for one in sockets:
        with contextlib.suppress(OSError):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads it
        one.close()


@contextlib.contextmanager
def closing_with(*closes: tuple[int, str]) -> Iterator[tuple[str, list[float]]]:
    """A gateway that authenticates every client and closes at once, with each code and reason in turn, then always the
    last one.

    A code below 1000 is an HTTP status, and its reason is the value of `Retry-After`.

    Yields its URL and, in turn, the times at which a client connected and was disconnected.
    """
    times: list[float] = []

    def turn() -> tuple[int, str]:
        return closes[min(len(times) // 2, len(closes) - 1)]

    def refuse(client: ServerConnection, request: Request) -> Response | None:
        status, later = turn()
        if status >= 1000:
            return None
        times.extend([time.monotonic()] * 2)
        response = client.respond(status, "")
        response.headers["Retry-After"] = later
        return response

    def handle(client: ServerConnection) -> None:
        code, reason = turn()
        times.append(time.monotonic())
        client.send(json.dumps(SUBSCRIBED))
        if client.request is not None and "Authorization" not in client.request.headers:
            client.recv(timeout=WAIT)
            client.send(json.dumps(AUTHENTICATED))
        times.append(time.monotonic())
        client.close(code, reason)

    with serve(handle, "127.0.0.1", 0, process_request=refuse) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}/", times
        server.shutdown()
        thread.join(WAIT)
