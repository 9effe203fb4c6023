"""A network that only some processes are in, with names for 127.0.0.1, as Compose gives its services.

    network = Network(folder, "rabbitmq", "redis")
    with network.inside():
        …                           # sockets and child processes of this thread are in the network

So services use the ports and names of their documentation, whatever else runs on this machine. Linux only, for root.
Knows no service.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_SET_FLAGS = 0x8914  # SIOCSIFFLAGS
_UP = 0x1  # IFF_UP


class Network:
    """An empty network with a loopback interface.

    Args:
        folder: for its file of names.
        names: names of 127.0.0.1, for programs that run with `command`.
    """

    def __init__(self, folder: Path, *names: str) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._hosts = folder / "hosts"
        self._hosts.write_text(f"127.0.0.1 localhost {' '.join(names)}\n")
        before = _current()
        self._done(self._libc.unshare(_NEW_NETWORK))
        try:
            with socket.socket() as any_socket:
                fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sH22x", b"lo", _UP))
            self._own = _current()
        finally:
            self._enter(before)
            os.close(before)

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Put this thread, and the threads and processes that it starts, into the network."""
        before = _current()
        self._enter(self._own)
        try:
            yield
        finally:
            self._enter(before)
            os.close(before)

    def command(self, words: list[str]) -> list[str]:
        """Return the command that runs a program with the names. It does not fork."""
        return ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(self._hosts), *words]

    def close(self) -> None:
        os.close(self._own)

    def _enter(self, network: int) -> None:
        self._done(self._libc.setns(network, _NEW_NETWORK))

    @staticmethod
    def _done(result: int) -> None:
        if result:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _current() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY)
