"""A WebSocket client without hidden behaviour: it sends and reads single frames and bytes, and every wait has a limit.

It masks, answers and closes only on request, so that a test can do what a client should not. Knows nothing of the
gateway.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import ssl
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tests.support.tls_socket import TlsSocket

WAIT = 60.0
"""Seconds within which anything expected has to arrive."""
CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


@dataclass(frozen=True)
class Frame:
    opcode: int
    payload: bytes
    fin: bool = True


@dataclass(frozen=True)
class Answer:
    """An HTTP response; header names in lower case. Empty, with status 0, if the server closed the connection without
    one."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def frame(
    opcode: int,
    payload: bytes = b"",
    fin: bool = True,
    mask: bool = True,
    reserved: int = 0,
    length: int | None = None,
) -> bytes:
    """Return a frame (RFC 6455 section 5.2). `length` announces another length than the payload's."""
    size = len(payload) if length is None else length
    if size < 126:
        extended, seven = b"", size
    elif size < 65_536:
        extended, seven = size.to_bytes(2, "big"), 126
    else:
        extended, seven = size.to_bytes(8, "big"), 127
    head = bytes([fin << 7 | reserved << 4 | opcode, mask << 7 | seven]) + extended
    if not mask:
        return head + payload
    key = os.urandom(4)
    stretched = (key * (len(payload) // 4 + 1))[: len(payload)]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(stretched, "big")
    return head + key + masked.to_bytes(len(payload), "big")


def text(message: str | Mapping[str, Any]) -> bytes:
    """Return a text frame. Anything but a str is encoded as JSON."""
    return frame(TEXT, (message if isinstance(message, str) else json.dumps(message)).encode())


def close(code: int, reason: str = "") -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + reason.encode())


class RawClient:
    """A TCP (or Unix, or TLS) connection.

    Args:
        where: a port on 127.0.0.1, or the path of a Unix socket.
        tls: None for a plain connection.
        receive_buffer: SO_RCVBUF, for a client that has to be slow.
        source: the address it comes from, any of 127.0.0.0/8.
        before: what it sends first, before a TLS handshake.
    """

    def __init__(
        self,
        where: int | str,
        tls: ssl.SSLContext | None = None,
        receive_buffer: int | None = None,
        source: str | None = None,
        before: bytes = b"",
    ) -> None:
        self._sock: socket.socket | TlsSocket = socket.socket(
            socket.AF_UNIX if isinstance(where, str) else socket.AF_INET
        )
        self._sock.settimeout(WAIT)
        if receive_buffer is not None:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source is not None:
            self._sock.bind((source, 0))
        self._sock.connect(where if isinstance(where, str) else ("127.0.0.1", where))
        self._buffer = b""
        self._sock.sendall(before)
        self.encrypt(tls)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.drop()

    def encrypt(self, tls: ssl.SSLContext | None) -> None:
        """Do the TLS handshake, if there is a context."""
        if tls is not None:
            self._sock = TlsSocket(self._sock, tls)

    def drop(self) -> None:
        """Close the socket without a close frame."""
        self._sock.close()

    def send(self, *data: bytes) -> None:
        """Send everything in one packet, if it fits."""
        self._sock.sendall(b"".join(data))

    def reset(self) -> None:
        """Close the socket as a crash would: unread data is lost."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def abort(self) -> None:
        """Make `drop` a reset, and end both directions, which wakes threads that send or read."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def finish(self) -> None:
        """Close the sending side of the connection."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def read_on(self) -> None:
        """Read and discard until the server or `finish` ends the connection."""
        with contextlib.suppress(OSError):
            while self._sock.recv(65_536):
                pass

    # ---- HTTP

    def request(
        self, headers: Mapping[str, str | None] | None = None, line: str = "GET / HTTP/1.1", along: bytes = b""
    ) -> Answer:
        """Ask for an upgrade and read the answer.

        Args:
            headers: other values than the usual; None leaves one out.
            line: the request line.
            along: bytes that follow the request in the same packet.
        """
        usual: dict[str, str | None] = {
            "Host": "localhost",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            "Sec-WebSocket-Version": "13",
        }
        lines = [
            line,
            *(f"{name}: {value}" for name, value in {**usual, **(headers or {})}.items() if value is not None),
        ]
        self.send("\r\n".join([*lines, "", ""]).encode(), along)
        return self.answer()

    def answer(self) -> Answer:
        """Read an HTTP response. Without a length its body ends with the connection."""
        deadline = time.monotonic() + WAIT
        while b"\r\n\r\n" not in self._buffer:
            if not self._more(deadline):
                assert not self._buffer, f"half an answer: {self._buffer!r}"
                return Answer(0, {}, b"")
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *rest = head.decode().split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (one.partition(":") for one in rest)}
        status = int(first.split()[1])
        if status == 101:
            return Answer(status, headers, b"")
        length = headers.get("content-length")
        while (length is None or len(self._buffer) < int(length)) and self._more(deadline):
            pass
        body, self._buffer = self._buffer, b""
        return Answer(status, headers, body)

    def upgrade(self, path: str = "/", along: bytes = b"") -> Self:
        """Ask for an upgrade, which the server has to accept."""
        answer = self.request(line=f"GET {path} HTTP/1.1", along=along)
        assert answer.status == 101, answer
        return self

    # ---- frames from the server

    def next(self) -> Frame | None:
        """Return the next frame, or None at the end of the connection. Fails if it is masked or has reserved bits."""
        deadline = time.monotonic() + WAIT
        header = self._exactly(2, deadline)
        if not header:
            return None
        first, second = header
        assert not first & 0x70, "reserved bits"
        assert not second & 0x80, "masked by the server"
        size = second & 0x7F
        if size >= 126:
            size = int.from_bytes(self._exactly(2 if size == 126 else 8, deadline), "big")
        return Frame(first & 0x0F, self._exactly(size, deadline), bool(first & 0x80))

    def take(self, size: int) -> bytes:
        """Return the next bytes of the connection."""
        return self._exactly(size, time.monotonic() + WAIT)

    def json(self) -> Any:
        """Return the content of the next frame, which has to be a whole text frame with JSON."""
        found = self.next()
        assert found is not None, "the server closed the connection"
        assert (found.opcode, found.fin) == (TEXT, True), found
        return json.loads(found.payload)

    def closed(self) -> tuple[int, str]:
        """Return code and reason of the next frame, which has to be a close frame."""
        found = self.next()
        assert found is not None, "the server closed the connection without a close frame"
        assert found.opcode == CLOSE, found
        return int.from_bytes(found.payload[:2], "big"), found.payload[2:].decode()

    def ended(self, seconds: float = WAIT) -> float:
        """Wait for the end of the connection, before which nothing more may arrive. Return how long that took."""
        started = time.monotonic()
        assert not self._more(started + seconds), f"more arrived: {self._buffer!r}"
        assert not self._buffer, f"more had arrived: {self._buffer!r}"
        return time.monotonic() - started

    def _exactly(self, size: int, deadline: float) -> bytes:
        while len(self._buffer) < size:
            if not self._more(deadline):
                assert not self._buffer, f"the connection ended within a frame: {self._buffer[:100]!r}"
                return b""
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _more(self, deadline: float) -> bool:
        """Read once. Return False at the end of the connection. Raises TimeoutError at the deadline."""
        self._sock.settimeout(max(deadline - time.monotonic(), 0.001))
        data = b""
        with contextlib.suppress(ConnectionResetError):
            data = self._sock.recv(65_536)
        self._buffer += data
        return bool(data)
