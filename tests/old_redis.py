"""A RESP relay that makes a Redis server look and act like an older version, slow, or switched to another server.

    with OldRedis(redis.port, "5.0.14") as old:
        …                           # clients connect to old.url

By the version (Redis' command reference, "History" of each command), what an older Redis does not know is changed so
that the real server refuses it with the same kind of error and in the same place of a pipeline:

- before 7.0: `SET` with both NX and GET, `EXPIRE` with NX;
- before 6.2: an exclusive id in `XRANGE` and `XREVRANGE`;
- before 6.0: `HELLO`; times in `BLPOP` that are no whole numbers;
- before 5.0: streams.

Knows requests as arrays of bulk strings; does not know the gateway. The version in the answer to INFO has to be as long
as the real one's, or is cut.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from types import TracebackType
from typing import Self

_VERSION = re.compile(rb"redis_version:([\w.]+)")


class OldRedis:
    """Listens on a free port of 127.0.0.1 and passes requests on to a Redis server.

    Args:
        to: port of the server.
        version: what the server says it is; None leaves all as it is.

    Attributes:
        to: port for the connections to come; assign another one, as a failover does. Open connections stay.
        delay: seconds that each request of a connection takes longer.
        connections: how many clients have connected.
    """

    def __init__(self, to: int, version: str | None = None) -> None:
        self.to, self._version = to, version
        self._since = tuple(map(int, version.split(".")[:2])) if version else (99, 0)
        self.delay = 0.0
        self.connections = 0
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for end in list(self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for end in (*self._open, self._listener):
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                server = socket.create_connection(("127.0.0.1", self.to))
                self._open |= {client, server}
                for pump in (
                    threading.Thread(target=self._pass_requests, args=(client, server), daemon=True),
                    threading.Thread(target=self._pass_answers, args=(server, client), daemon=True),
                ):
                    pump.start()
                    self._threads.append(pump)

    def _pass_requests(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), client.makefile("rb") as requests:
            while header := requests.readline():
                words = []
                for _ in range(int(header[1:])):
                    size = int(requests.readline()[1:])
                    words.append(requests.read(size + 2)[:-2])
                time.sleep(self.delay)
                server.sendall(_packed(self._changed(words)))
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)

    def _pass_answers(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65_536):
                client.sendall(self._as_old(data))
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    def _changed(self, words: list[bytes]) -> list[bytes]:
        name, options = words[0].upper(), {word.upper() for word in words[1:]}
        if self._since < (7, 0) and name == b"SET" and {b"NX", b"GET"} <= options:
            return [*words, b"SYNTAX"]
        if self._since < (7, 0) and name == b"EXPIRE" and len(words) > 3:
            return [b"EXPIRE"]
        if self._since < (6, 2) and name in (b"XRANGE", b"XREVRANGE"):
            return [word.replace(b"(", b"no id ") for word in words]
        if self._since < (6, 0) and name == b"BLPOP" and not words[-1].isdigit():
            return [*words[:-1], b"no number"]
        if (self._since < (6, 0) and name == b"HELLO") or (self._since < (5, 0) and name.startswith(b"X")):
            return [b"UNKNOWN-" + words[0], *words[1:]]
        return words

    def _as_old(self, data: bytes) -> bytes:
        version = (self._version or "").encode()
        if not version:
            return data
        return _VERSION.sub(lambda real: b"redis_version:" + version.ljust(len(real[1]), b"0")[: len(real[1])], data)


def _packed(words: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
