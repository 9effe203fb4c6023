"""How the loop and a thread that computes share the one interpreter: short turns, and writes that keep it.

Python's threads take turns of 5 ms, and the loop gives its own away at each system call. With a thread that computes,
an event for 200 clients, which is 200 writes, would take as long as the thread does. Knows sockets by their numbers.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from collections.abc import Callable
from typing import Final

TURN_SECONDS: Final = 0.0005
"""Of the thread, each time that the loop has waited. Shorter, and the loop loses its own in the middle of a burst."""


class Turns:
    """Entered while something is computed in a thread, by any number of greenlets.

    Attributes:
        send: writes what a socket takes at once, and keeps the interpreter meanwhile; None while no thread computes:
            the socket's own is faster then.
    """

    def __init__(self) -> None:
        self._computing, self._usual = 0, 0.0
        self.send: Callable[[int, bytes], int] | None = None

    def __enter__(self) -> None:
        if not self._computing:
            self._usual = sys.getswitchinterval()
            sys.setswitchinterval(TURN_SECONDS)
            self.send = _send
        self._computing += 1

    def __exit__(self, *_: object) -> None:
        self._computing -= 1
        if not self._computing:
            sys.setswitchinterval(self._usual)
            self.send = None


turns: Final = Turns()
"""Of this process."""

_libc: Final = ctypes.PyDLL(None, use_errno=True)  # calls of a PyDLL keep the interpreter
_libc.send.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)
_libc.send.restype = ctypes.c_ssize_t
_FLAGS: Final = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL


def _send(number: int, data: bytes) -> int:
    """send(2): how many bytes were taken. OSError, as `socket.send`."""
    taken: int = _libc.send(number, data, len(data), _FLAGS)
    if taken < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return taken
