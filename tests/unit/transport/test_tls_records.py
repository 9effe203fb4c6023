"""A read from a TLS connection returns after each record without data, on real sockets of Python and of gevent."""

from __future__ import annotations

import select
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gevent.ssl
import pytest

from peatio_ws.transport.tls_records import return_after_each_record
from tests.support.certificate import Certificate
from tests.support.raw_client import WAIT, RawClient
from tests.support.tls_records import HANDSHAKE, HELLO, KEY_UPDATE, TlsClient

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("package", [ssl, gevent.ssl])
@pytest.mark.parametrize("version", VERSIONS)
def test_read_returns_after_each_record_without_data(tmp_path: Path, version: ssl.TLSVersion, package: Any) -> None:
    """Key updates, or requests to renegotiate: without end, none of them could make a read last."""
    files = Certificate(tmp_path)
    context = package.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor() as pool:
        port = listener.getsockname()[1]
        making = pool.submit(TlsClient, port, files.trusted(), version, tmp_path)
        below, _ = listener.accept()
        ours = context.wrap_socket(below, server_side=True, do_handshake_on_connect=False)
        return_after_each_record(ours)
        ours.do_handshake()
        with making.result() as client, ours:
            wrong = KEY_UPDATE if version is ssl.TLSVersion.TLSv1_3 else HELLO
            records = [client.record(wrong, HANDSHAKE) for _ in range(10)]
            client.send(b"".join((*records, client.record(b"data"))))
            ours.setblocking(False)
            select.select([ours], [], [], WAIT)
            for _ in records:
                with pytest.raises(ssl.SSLWantReadError):
                    ours._sslobj.read(100)
            assert ours._sslobj.read(100) == b"data"


@pytest.mark.parametrize("package", [ssl, gevent.ssl])
def test_client_that_disconnected_before_tls_has_nothing_to_change(package: Any) -> None:
    """A half-close, then a reset: Python wraps such a socket without an OpenSSL object."""
    context = package.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = RawClient(listener.getsockname()[1])
        client.finish()
        client.reset()
        below, _ = listener.accept()
    with context.wrap_socket(below, server_side=True, do_handshake_on_connect=False) as ours:
        assert ours._sslobj is None
        return_after_each_record(ours)
        with pytest.raises(OSError, match="not connected"):
            ours.do_handshake()
