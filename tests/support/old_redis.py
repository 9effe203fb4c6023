"""A RESP relay that makes a Redis server look and act like an older version, slow, or switched to another server.

    with OldRedis(redis.port, "5.0.14") as old:
        …                           # clients connect to old.url

By the version (Redis' command reference, "History" of each command), what an older Redis does not know is changed so
that the real server refuses it with the same kind of error and in the same place of a pipeline:

- before 7.0: `SET` with both NX and GET, `EXPIRE` with NX;
- before 6.2: an exclusive id in `XRANGE` and `XREVRANGE`;
- before 6.0: `HELLO`; times in `BLPOP` that are not whole numbers;
- before 5.0: streams.

Knows requests as arrays of bulk strings; does not know the gateway. The version in the answer to INFO has to be as long
as the real one's, or is cut.
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Callable

from tests.support.tcp_relay import TcpRelay

_VERSION = re.compile(rb"redis_version:([\w.]+)")


class OldRedis(TcpRelay):
    """Passes requests on to a Redis server.

    Args:
        to: port of the server.
        version: the version that the server appears to have; None changes nothing.
        listener: see `TcpRelay`.

    Attributes:
        delay: seconds by which each request of a connection is delayed.
    """

    def __init__(self, to: int, version: str | None = None, listener: socket.socket | None = None) -> None:
        self._version = version
        self._since = tuple(map(int, version.split(".")[:2])) if version else (99, 0)
        self.delay = 0.0
        super().__init__(to, listener)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def passing(self, client: socket.socket, server: socket.socket) -> tuple[Callable[[], None], Callable[[], None]]:
        return lambda: self._pass_requests(client, server), lambda: self._pass_answers(server, client)

    def _pass_requests(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), client.makefile("rb") as requests:
            while header := requests.readline():
                words = []
                for _ in range(int(header[1:])):
                    size = int(requests.readline()[1:])
                    words.append(requests.read(size + 2)[:-2])
                time.sleep(self.delay)
                server.sendall(_packed(self._changed(words)))
        server.shutdown(socket.SHUT_RDWR)

    def _pass_answers(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65_536):
                client.sendall(self._as_old(data))
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
