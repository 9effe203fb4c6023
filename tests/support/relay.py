"""A TCP relay that records the frames of WebSocket clients and a gateway.

    with Relay(gateway.port) as relay:
        …                                    # clients connect to relay.port
    relay.connections                        # the frames, in order

Knows frames; does not know what they mean. Tokens are not recorded.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from websockets.frames import Close, Frame, Opcode
from websockets.streams import StreamReader

_TOKEN = re.compile(r"eyJ[\w-]+\.eyJ[\w-]+\.[\w-]*")


@dataclass
class Connection:
    """One connection: the request, the answer and the frames.

    Attributes:
        path: with its query, as the client sent it.
        authorization: whether its headers had a token.
        status: of the answer; 101 for an upgrade.
        frames: `("client" or "server", what)`: a text, `{"code": …, "reason": …}` for a close frame, `{"binary": n}`
            for a binary one of n bytes. Pings and pongs of the frame layer are left out.
    """

    path: str = ""
    authorization: bool = False
    status: int = 0
    frames: list[tuple[str, Any]] = field(default_factory=list)


class Relay:
    """Listens on a free port of 127.0.0.1 and passes everything on to another port."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections: list[Connection] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                self.connections.append(connection := Connection())
                for name, source, target in (("client", client, server), ("server", server, client)):
                    self._threads.append(
                        threading.Thread(target=_pump, args=(name, source, target, connection), daemon=True)
                    )
                    self._threads[-1].start()


def _pump(name: str, source: socket.socket, target: socket.socket, connection: Connection) -> None:
    reader = StreamReader()
    parser = _listen(name, reader, connection)
    next(parser)
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            reader.feed_data(data)
            next(parser)
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _listen(name: str, reader: StreamReader, connection: Connection) -> Generator[None, None, None]:
    first = yield from reader.read_line(8192)
    if name == "client":
        connection.path = first.split()[1].decode()
    else:
        connection.status = int(first.split()[1])
    while line := (yield from reader.read_line(65_536)).strip():
        if name == "client" and line.lower().startswith(b"authorization:"):
            connection.authorization = True
    while name == "server" and connection.status != 101:
        yield  # the body of a refusal; it has no frames
    while True:
        frame = yield from Frame.parse(reader.read_exact, mask=name == "client", max_size=None)
        if frame.opcode not in (Opcode.PING, Opcode.PONG):
            connection.frames.append((name, _shown(frame)))


def _shown(frame: Frame) -> Any:
    if frame.opcode is Opcode.CLOSE:
        close = Close.parse(frame.data)
        return {"code": int(close.code), "reason": close.reason}
    if frame.opcode is Opcode.BINARY:
        return {"binary": len(frame.data)}
    assert frame.opcode is Opcode.TEXT, frame
    assert frame.fin, "fragmented messages are not supported here"
    return _TOKEN.sub("<token>", bytes(frame.data).decode())
