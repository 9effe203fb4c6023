"""Many clients in one thread: raw sockets and `selectors`, frames split but not interpreted.

For tests that need hundreds of connections at once. `websockets` serves tests that examine a single client.
"""

from __future__ import annotations

import base64
import json
import os
import selectors
import socket
import ssl
import time
from collections.abc import Callable, Iterable

WAIT = 90.0


class SwarmClient:
    """One connection of a swarm.

    Args:
        tls: None for a plain connection.
        source: the client's address, any of 127.0.0.0/8.
        window: size of the kernel's receive buffer in bytes; 0 for the default of some MB.

    Attributes:
        texts: text frames as they arrived.
        close: (code, reason) of the close frame; None before.
        ended: whether the connection has ended.
        status: of the HTTP answer; 0 before.
    """

    def __init__(
        self,
        port: int,
        token: str | None,
        path: str = "/",
        tls: ssl.SSLContext | None = None,
        source: str = "127.0.0.1",
        window: int = 0,
    ) -> None:
        self.token = token
        self.texts: list[str] = []
        self.close: tuple[int, str] | None = None
        self.ended = False
        self.status = 0
        self.paused = False
        self._buffer = b""
        self.sock = socket.create_connection(("127.0.0.1", port), WAIT, (source, 0))
        if window:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        if tls is not None:
            self.sock = tls.wrap_socket(self.sock, server_hostname="localhost")
        key = base64.b64encode(os.urandom(16)).decode()
        self.sock.sendall(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self.sock.setblocking(False)

    @property
    def authenticated(self) -> bool:
        return any('"Authenticated."' in text for text in self.texts[:4])

    def hello(self) -> dict[str, str | bool]:
        """Return the first message that the client sends if it has a token."""
        return {"jwt": f"Bearer {self.token}"}

    def send(self, payload: bytes, opcode: int = 1) -> None:
        size = len(payload)
        head = bytes((0x80 | opcode, 0x80 | size)) if size < 126 else bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2)
        self.sock.sendall(head + b"\0\0\0\0" + payload)  # masked with zeros: the payload as it is

    def read(self) -> None:
        """Read what has arrived."""
        self._read()
        while isinstance(self.sock, ssl.SSLSocket) and not self.ended and self.sock.pending():
            self._read()  # selectors do not report data that is decrypted already

    def _read(self) -> None:
        try:
            data = self.sock.recv(262_144)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError:
            data = b""
        if not data:
            self.ended = True
            self.sock.close()
            return
        self._buffer += data
        if not self.status:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            self.status, self._buffer = int(head[9:12]), rest
            if self.status == 101 and self.token:
                self.send(json.dumps(self.hello()).encode())
        if self.status == 101:
            self._split()

    def _split(self) -> None:
        buffer, at = self._buffer, 0
        while len(buffer) - at >= 2:
            opcode, size, skip = buffer[at] & 15, buffer[at + 1], 2
            if size == 126:
                size, skip = int.from_bytes(buffer[at + 2 : at + 4]), 4
            elif size == 127:
                size, skip = int.from_bytes(buffer[at + 2 : at + 10]), 10
            if len(buffer) - at < skip + size:
                break
            payload = buffer[at + skip : at + skip + size]
            at += skip + size
            if opcode == 1:
                self.texts.append(payload.decode())
            elif opcode == 8:
                self.close = (int.from_bytes(payload[:2]), payload[2:].decode())
                self.send(payload[:2], 8)
            elif opcode == 9:
                self.send(payload, 10)
        self._buffer = buffer[at:]


class Swarm:
    """Clients that are read together."""

    def __init__(self) -> None:
        self.clients: list[SwarmClient] = []
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Swarm:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self.clients:
            client.sock.close()
        self._selector.close()

    def join(self, client: SwarmClient) -> None:
        """Add a client that is read together with the others."""
        self._selector.register(client.sock, selectors.EVENT_READ, client)
        self.clients.append(client)

    def add(
        self, port: int, tokens: Iterable[str | None], window: int = 0, tls: ssl.SSLContext | None = None
    ) -> list[SwarmClient]:
        """Connect one client for each token. Waits until all are authenticated or refused."""
        new = []
        for token in tokens:
            client = SwarmClient(port, token, window=window, tls=tls)
            new.append(client)
            self.join(client)
            self.turn(0)
        self.until(lambda: all(c.authenticated or c.ended or c.status not in (0, 101) for c in new), "authenticated")
        return new

    def drop(self, clients: Iterable[SwarmClient]) -> int:
        """Disconnect without close frames. Return how many texts these clients received after authentication."""
        gone = set(clients)
        for client in gone:
            if not client.ended and not client.paused:
                self._selector.unregister(client.sock)
            client.sock.close()
        self.clients = [client for client in self.clients if client not in gone]
        return sum(max(0, len(client.texts) - 2) for client in gone)

    def turn(self, seconds: float) -> None:
        """Read what arrives within this many seconds."""
        for key, _ in self._selector.select(seconds):
            client: SwarmClient = key.data
            if client.paused:
                self._selector.unregister(client.sock)
                continue
            try:
                client.read()
            except OSError:
                client.ended = True
            if client.ended:
                self._selector.unregister(key.fileobj)

    def resume(self, client: SwarmClient) -> None:
        """Read a paused client again."""
        client.paused = False
        self._selector.register(client.sock, selectors.EVENT_READ, client)

    def until(self, check: Callable[[], bool], what: str, seconds: float = WAIT) -> None:
        """Read until `check` is true. Raises TimeoutError naming `what` if it does not become true."""
        deadline = time.monotonic() + seconds
        while not check():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds} s: {what}")
            self.turn(0.05)
