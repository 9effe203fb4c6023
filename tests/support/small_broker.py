"""An AMQP broker that confirms what is published, until it is frozen: then it reads and answers nothing.

Knows the handful of methods that a publisher needs (AMQP 0-9-1).
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from types import TracebackType
from typing import Any, Self

from amqp import spec
from amqp.serialization import dumps

_METHOD, _END = 1, b"\xce"
_START = dumps("ooFSS", (0, 9, {}, "PLAIN", "en_US"))
_TUNE = dumps("BlB", (2047, 131_072, 0))
_ANSWERS: dict[tuple[int, int], tuple[tuple[int, int], bytes]] = {
    spec.Connection.StartOk: (spec.Connection.Tune, _TUNE),
    spec.Connection.Open: (spec.Connection.OpenOk, b"\0"),
    spec.Connection.Close: (spec.Connection.CloseOk, b""),
    spec.Channel.Open: (spec.Channel.OpenOk, b"\0\0\0\0"),
    spec.Channel.Close: (spec.Channel.CloseOk, b""),
    spec.Confirm.Select: (spec.Confirm.SelectOk, b""),
    spec.Exchange.Declare: (spec.Exchange.DeclareOk, b""),
}


class SmallBroker:
    """A broker on 127.0.0.1.

    Args:
        freezes_at: it freezes instead of answering this method; None: when `frozen` is set.
    """

    def __init__(self, freezes_at: tuple[int, int] | None = None) -> None:
        self.frozen, self._freezes_at = threading.Event(), freezes_at
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.url = f"amqp://guest:guest@127.0.0.1:{self._listener.getsockname()[1]}//"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self._open.append(sock)
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, struct.error), sock.makefile("rb") as reader:
            reader.read(8)
            _send(sock, 0, spec.Connection.Start, _START)
            published = 0
            while True:
                kind, channel, size = struct.unpack(">BHI", reader.read(7))
                payload = reader.read(size + 1)[:-1]
                method: Any = struct.unpack(">HH", payload[:4]) if kind == _METHOD else None
                if method is not None and method == self._freezes_at:
                    self.frozen.set()
                if self.frozen.is_set():
                    return  # the socket stays open
                if method in _ANSWERS:
                    _send(sock, channel, *_ANSWERS[method])
                elif method == spec.Basic.Publish:
                    published += 1
                    _send(sock, channel, spec.Basic.Ack, dumps("Lb", (published, False)))


def _send(sock: socket.socket, channel: int, method: tuple[int, int], arguments: bytes) -> None:
    payload = struct.pack(">HH", *method) + arguments
    sock.sendall(struct.pack(">BHI", _METHOD, channel, len(payload)) + payload + _END)
