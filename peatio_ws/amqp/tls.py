"""py-amqp's TLS transport, with contexts that are made once, and without the timeout that it leaves behind.

Knows TLS; does not know gevent, nor what is read (`frame_reader.py`).
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
    """py-amqp's transport over TLS. Its option `ssl` is a dict with `files` and `server_hostname`."""

    sock: Any

    def _wrap_socket(self, sock: Any, files: TlsFiles, server_hostname: str) -> Any:
        return context(files).wrap_socket(sock, server_hostname=server_hostname, do_handshake_on_connect=False)

    def _setup_transport(self) -> None:
        super()._setup_transport()
        # py-amqp (5.4.2; celery/py-amqp#474) sets connect_timeout for the handshake and leaves it: a read that waits
        # longer fails, and a quiet connection is lost before the broker's next heartbeat. A dead broker is found by
        # missing heartbeats.
        self.sock.settimeout(None)

    def _shutdown_transport(self) -> None:
        # Not unwrap() as py-amqp has it: without a timeout that waits for a frozen broker for ever.
        with contextlib.suppress(OSError, ValueError):
            self.sock.settimeout(0)
            self.sock.unwrap()


def context(files: TlsFiles) -> ssl.SSLContext:
    """The TLS context for these files as they are now: a renewed certificate counts from the next connection on.

    Raises:
        OSError: a file cannot be read or used (`ssl.SSLError` is one).
    """
    return _context(files, tuple(_version(path) for path in files))


def _version(path: str | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    found = os.stat(path)
    return found.st_mtime_ns, found.st_size, found.st_ino


@functools.lru_cache(8)  # reading the system's authorities takes 20 ms
def _context(files: TlsFiles, _versions: object) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies chain and host name
    if files.ca is None:
        made.load_default_certs()
    else:
        made.load_verify_locations(files.ca)
        made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # what the file holds is trusted, be it root or not
    if files.cert is not None:
        made.load_cert_chain(files.cert, files.key, password="")
    return made


def read_records(data: bytes, read: Callable[[int], bytes], size: int) -> bytes:
    """Return the data of a record, and of those after it that have come already, up to a size.

    A TLS socket gives one record at a time, however many have come: a burst would be read in small pieces, and each of
    them would look like all there is.
    """
    pieces, taken = [data], len(data)
    try:
        while data and taken < size:
            pieces.append(data := read(size - taken))
            taken += len(data)
    except OSError:  # nothing more is there; an error, or the end, comes again with the next read
        pass
    return b"".join(pieces)


class PlainConnection(pyamqp.Connection):  # type: ignore[misc]
    """py-amqp's connection, with the transport over TLS of this package."""

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
    """kombu's transport that reads as py-amqp does, in any process."""

    Connection = PlainConnection
