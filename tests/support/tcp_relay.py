"""Common part of TCP relays in front of a server: they listen, connect each client to the server, and end.

Knows no protocol: a subclass passes on the bytes of both sides.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self


class TcpRelay:
    """Listens on a free port of 127.0.0.1, or on a socket of the caller.

    Args:
        to: port of the server.
        listener: where it listens.

    Attributes:
        to: port for new connections; assign another one to simulate a failover. Open connections stay.
        connections: how many clients have connected.
    """

    def __init__(self, to: int, listener: socket.socket | None = None) -> None:
        self.to, self.connections = to, 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = listener or socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def passing(self, client: socket.socket, server: socket.socket) -> tuple[Callable[[], None], Callable[[], None]]:
        """Return functions that pass on a connection's data until its end, from the client and from the server.

        Each runs in a thread; an OSError ends it.
        """
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(10)
        self.cut()
        for thread in self._threads:
            thread.join(10)
        for end in (*self._open, self._listener):
            end.close()

    def cut(self) -> None:
        """Break all open connections."""
        with self._lock:
            for end in self._open:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                server = socket.create_connection(("127.0.0.1", self.to))
                with self._lock:
                    self._open |= {client, server}
                for passed in self.passing(client, server):
                    self._threads.append(threading.Thread(target=self._pass, args=(passed,), daemon=True))
                    self._threads[-1].start()

    @staticmethod
    def _pass(passed: Callable[[], None]) -> None:
        with contextlib.suppress(OSError):
            passed()
