"""py-amqp's TLS transport with cached contexts, and without the timeout that py-amqp leaves on the socket.

Knows TLS; does not know gevent or the frames (`frame_reader.py`).
"""

from __future__ import annotations

import contextlib
import functools
import os
import ssl
from collections.abc import Callable
from typing import Any

from amqp.transport import SSLTransport, TCPTransport
from kombu.transport import pyamqp

from peatio_ws.config.tls_files import TlsFiles


class TlsTransport(SSLTransport):  # type: ignore[misc]  # py-amqp has no types
    """py-amqp's TLS transport. Its option `ssl` is a dict with `files` and `server_hostname`."""

    sock: Any

    def _wrap_socket(self, sock: Any, files: TlsFiles, server_hostname: str) -> Any:
        return context(files).wrap_socket(sock, server_hostname=server_hostname, do_handshake_on_connect=False)

    def _setup_transport(self) -> None:
        super()._setup_transport()
        # py-amqp (5.4.2; celery/py-amqp#474) sets connect_timeout for the handshake and never removes it. A read that
        # waits longer then fails, and a quiet connection is lost before the broker's next heartbeat. Missing heartbeats
        # reveal a dead broker anyway.
        self.sock.settimeout(None)

    def _shutdown_transport(self) -> None:
        # py-amqp's unwrap() would wait for a frozen broker for ever, because there is no timeout.
        with contextlib.suppress(OSError, ValueError):
            self.sock.settimeout(0)
            self.sock.unwrap()


def context(files: TlsFiles) -> ssl.SSLContext:
    """Return the TLS context for the current content of these files. Renewed certificates apply to new connections.

    Raises:
        OSError: a file cannot be read or used (`ssl.SSLError` is a subclass).
    """
    return _context(files, tuple(_version(path) for path in files))


def _version(path: str | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    found = os.stat(path)
    return found.st_mtime_ns, found.st_size, found.st_ino


@functools.lru_cache(8)  # loading the system's authorities takes 20 ms
def _context(files: TlsFiles, _versions: object) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies chain and host name
    if files.ca is None:
        made.load_default_certs()
    else:
        made.load_verify_locations(files.ca)
        made.verify_flags |= (
            ssl.VERIFY_X509_PARTIAL_CHAIN
        )  # trust each certificate in the file, even if it is not a root
    if files.cert is not None:
        made.load_cert_chain(files.cert, files.key, password="")
    return made


def read_records(data: bytes, read: Callable[[int], bytes], size: int) -> bytes:
    """Return the data of a record, and of further records that have already arrived, up to a size.

    A TLS socket returns one record at a time. A burst would be read in small pieces, and each of them would look as if
    no more data were available.
    """
    pieces, taken = [data], len(data)
    try:
        while data and taken < size:
            pieces.append(data := read(size - taken))
            taken += len(data)
    except OSError:  # no more data; the next read reports an error or the end again
        pass
    return b"".join(pieces)


class PlainConnection(pyamqp.Connection):  # type: ignore[misc]
    """py-amqp's connection with this package's TLS transport."""

    tcp: Any = TCPTransport
    tls: Any = TlsTransport

    def Transport(  # py-amqp's name and signature
        self,
        host: str,
        connect_timeout: float,
        ssl: Any = False,
        read_timeout: float | None = None,
        write_timeout: float | None = None,
        socket_settings: Any = None,
        **_: Any,
    ) -> Any:
        return (self.tls if ssl else self.tcp)(
            host,
            connect_timeout=connect_timeout,
            ssl=ssl,
            read_timeout=read_timeout,
            write_timeout=write_timeout,
            socket_settings=socket_settings,
        )


class PlainTransport(pyamqp.Transport):  # type: ignore[misc]
    """kombu's transport with `PlainConnection`. Works in any process, also without gevent."""

    Connection = PlainConnection
