"""A server that answers only what tests of several servers ask: ROLE, ECHO, and OK to everything else."""

from __future__ import annotations

import contextlib
import socket
import threading

REPLICA = b"*5\r\n$5\r\nslave\r\n$1\r\nh\r\n:1\r\n$9\r\nconnected\r\n:0\r\n"
PRIMARY = b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"
FORBIDDEN = b"-NOPERM this user has no permissions to run the 'role' command\r\n"


class SmallRedis:
    """A server with a role, which also answers ECHO with its name."""

    def __init__(self, name: str, role: bytes) -> None:
        self.name, self.role = name, role
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.clients = list[socket.socket]()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.socket.accept()
                self.clients.append(client)
                threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, client.makefile("rb") as lines:
            while head := lines.readline():
                words = []
                for _ in range(int(head[1:])):
                    words.append(lines.read(int(lines.readline()[1:]) + 2)[:-2])
                if words[0] == b"ROLE":
                    client.sendall(self.role)
                elif words[0] == b"ECHO":
                    client.sendall(b"$%d\r\n%b\r\n" % (len(self.name), self.name.encode()))
                else:
                    client.sendall(b"+OK\r\n")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        for client in self.clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
