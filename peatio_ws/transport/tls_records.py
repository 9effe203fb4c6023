"""Lets a read from a TLS connection return after each record that holds no data.

OpenSSL's SSL_read continues as long as it finds such records. During a flood of key updates (RFC 8446 section 4.6.3) or
of requests to renegotiate, it does not return, and the event loop stands still: 12 Mbit/s of one client are enough
(OpenSSL 3.0). Other TLS libraries limit such records. OpenSSL returns after each of them if SSL_MODE_AUTO_RETRY is off,
but Python (3.11 to 3.13) sets it for every connection and has no function to clear it. So this module asks OpenSSL
directly, for an object that it finds in the memory of Python's.
"""

from __future__ import annotations

import ctypes
import socket
import ssl
import weakref
from collections.abc import Callable
from typing import Any, Final

CLEAR_MODE: Final = 78
"""SSL_CTRL_CLEAR_MODE in openssl/ssl.h."""
AUTO_RETRY: Final = 4
"""SSL_MODE_AUTO_RETRY in openssl/ssl.h."""


def return_after_each_record(sock: Any) -> None:
    """Change a TLS socket, Python's or gevent's, before its handshake. No effect where OpenSSL cannot be asked.

    A client may have disconnected already. Its socket then has no `PySSLSocket`, and its handshake raises OSError.
    """
    if _control is not None and sock._sslobj is not None:
        _control(_fields(sock._sslobj)[1], CLEAR_MODE, AUTO_RETRY, None)


def _fields(sslobj: object) -> Any:
    """Return the first fields of CPython's `PySSLSocket`: a weak reference to the socket, the SSL, the context."""
    return (ctypes.c_void_p * 3).from_address(id(sslobj) + object.__basicsize__)


def _fields_are_known() -> bool:
    """Return whether the fields are in this order, by the two whose values are known."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours, theirs = socket.socketpair()
    with theirs, context.wrap_socket(ours, server_side=True, do_handshake_on_connect=False) as sock:
        reference, _, of_context = _fields(sock._sslobj)  # type: ignore[attr-defined]
        below = getattr(sock, "_sock", sock)  # Python's socket below gevent's
        return bool(reference == id(weakref.ref(below)) and of_context == id(context))


def _find_control() -> Callable[..., int] | None:
    """Return OpenSSL's SSL_ctrl, or None if it is not accessible."""
    try:
        import _ssl

        control = ctypes.CDLL(getattr(_ssl, "__file__", None)).SSL_ctrl
    except (ImportError, OSError, AttributeError):
        return None
    control.restype, control.argtypes = ctypes.c_long, (ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_void_p)
    return control if _fields_are_known() else None


_control: Final = _find_control()
