"""Connections to the broker, their names and errors in the log, and Peatio's exchanges.

Knows kombu; does not know the messages.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any, Final
from urllib.parse import urlsplit

from kombu import Connection, Exchange
from kombu.exceptions import KombuError
from kombu.transport import memory

from peatio_ws.amqp.frame_reader import BufferedTransport
from peatio_ws.amqp.tls import PlainTransport
from peatio_ws.config.tls_errors import tls_fault
from peatio_ws.config.tls_files import SERVER_NAME, files_of, split
from peatio_ws.config.urls import EMBEDDED_BROKER
from peatio_ws.protocol.exchanges import EXCHANGES

HEARTBEAT: Final = 10.0
"""Interval in seconds. RabbitMQ and the consumer each give up on a silent peer after two intervals."""
_USER_TIMEOUT: Final = getattr(socket, "TCP_USER_TIMEOUT", None)
"""Available on Linux only."""
CONNECT_TIMEOUT: Final = 8.0
CLOSE_SECONDS: Final = 2.0
POLL_SECONDS: Final = 0.005
"""How often the in-process broker is polled."""
PUBLISH_ADVICE: Final = {
    403: "the URL's user or password is wrong, or the user may not write to Peatio's exchanges",
    406: "set AMQP_EXCHANGES_DURABLE (durable=True in Python) as Peatio declares its exchanges",
    530: "the virtual host in the URL does not exist",
}
"""Remedies for a publisher, by RabbitMQ's reply code (AMQP 0-9-1 section 1.2)."""


class _InProcess(memory.Transport):  # type: ignore[misc]  # kombu has no types
    """kombu's in-process broker. Waiting lets other greenlets run, even without gevent's patches (`testing.py`)."""

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        if timeout is not None:
            super().drain_events(connection, timeout)
            return
        while True:
            try:
                super().drain_events(connection, 0)
            except TimeoutError:
                import gevent  # not at the top: `publisher.py` must not load it

                gevent.sleep(POLL_SECONDS)
            else:
                return


def open_connection(url: str, buffered: bool = True) -> Connection:
    """Return a kombu connection that is not yet connected.

    It has heartbeats and time limits. With TLS it verifies the server's certificate and its name.

    Args:
        url: URL of the broker, `amqps` for TLS; `tls_files.py` has its parameters.
        buffered: read all available bytes at once, which requires gevent. If false, read as py-amqp does.
    """
    if url == EMBEDDED_BROKER:
        return Connection(url, transport=_InProcess)
    bare, parameters = split(url)
    # kombu would fill in the wrong name: it replaces localhost by 127.0.0.1.
    tls = {"files": files_of(parameters), "server_hostname": parameters.get(SERVER_NAME) or urlsplit(bare).hostname}
    return Connection(
        bare,
        transport=BufferedTransport if buffered else PlainTransport,
        ssl=tls if bare.startswith("amqps:") else False,
        heartbeat=HEARTBEAT,
        connect_timeout=CONNECT_TIMEOUT / 2,
        # py-amqp's default of 1 s would drop the connection at every short network problem (py-amqp 5.4.2).
        transport_options={"socket_settings": {_USER_TIMEOUT: int(HEARTBEAT * 2000)} if _USER_TIMEOUT else {}},
    )


def limit_waits(connection: Connection, seconds: float) -> None:
    """Let each read and write of a connection raise TimeoutError after this time: py-amqp waits for most answers of a
    broker without limit (5.4.2). Do nothing if it is not connected, or to the in-process broker."""
    transport = getattr(connection.connection, "transport", None) if connection.connected else None
    if (sock := getattr(transport, "sock", None)) is not None:
        sock.settimeout(seconds)


def close(connection: Connection) -> None:
    """Close a connection properly, but wait only `CLOSE_SECONDS` for each of the broker's two answers. Never raises."""
    with contextlib.suppress(Exception):
        limit_waits(connection, CLOSE_SECONDS)
    with contextlib.suppress(Exception):
        connection.close()


def connection_errors(url: str) -> tuple[type[Exception], ...]:
    """Return the exceptions of a connection to a broker that is unreachable, refuses or is lost."""
    connection = Connection(split(url)[0])
    return (*connection.connection_errors, *connection.channel_errors, KombuError, OSError)


def exchange(name: str, durable: bool, embedded: bool = False) -> Exchange:
    """Return one of Peatio's exchanges, as Peatio declares it."""
    kind = EXCHANGES[name]
    if embedded and kind == "headers":
        kind = "fanout"  # same as a binding without arguments; kombu's memory:// has no headers exchange
    return Exchange(name, kind, durable=durable, auto_delete=False)


def is_embedded(connection: Connection) -> bool:
    """Return whether a connection is to the in-process broker."""
    return bool(connection.transport.driver_type == "memory")


def shown_url(url: str) -> str:
    """Return host, port and virtual host of a URL, without user and password."""
    return url.rpartition("@")[2].partition("?")[0] or url


def describe_error(error: BaseException) -> str:
    """Return the text of a broker's error; for TLS faults, text and remedy."""
    return str(tls_fault(error) or error) or type(error).__name__
