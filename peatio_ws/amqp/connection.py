"""How the broker is connected to, what it is called in the log, and what Peatio's exchanges are.

Knows kombu; does not know what is read or published.
"""

from __future__ import annotations

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
"""Seconds; RabbitMQ and the consumer each give up on a silent peer after two of them."""
_USER_TIMEOUT: Final = getattr(socket, "TCP_USER_TIMEOUT", None)
"""An option of Linux."""
CONNECT_TIMEOUT: Final = 8.0
POLL_SECONDS: Final = 0.005
"""How often the in-process broker is looked at."""


class _InProcess(memory.Transport):  # type: ignore[misc]  # kombu has no types
    """kombu's in-process broker; who waits for it lets other greenlets run, in a process without gevent's patches too
    (`testing.py`)."""

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        if timeout is not None:
            super().drain_events(connection, timeout)
            return
        while True:
            try:
                super().drain_events(connection, 0)
            except TimeoutError:
                import gevent  # not above: `publisher.py` does without it

                gevent.sleep(POLL_SECONDS)
            else:
                return


def open_connection(url: str, buffered: bool = True) -> Connection:
    """A kombu connection, not yet connected, as this package uses it: heartbeats, time limits, TLS that verifies the
    server's certificate and its name.

    Args:
        url: `amqps` for TLS; `tls_files.py` has its parameters.
        buffered: read with gevent, as much as is there at once; otherwise as py-amqp does, in any process.
    """
    if url == EMBEDDED_BROKER:
        return Connection(url, transport=_InProcess)
    bare, parameters = split(url)
    # Not kombu's own way to fill in the name: it connects to 127.0.0.1 for localhost, and would check that name.
    tls = {"files": files_of(parameters), "server_hostname": parameters.get(SERVER_NAME) or urlsplit(bare).hostname}
    return Connection(
        bare,
        transport=BufferedTransport if buffered else PlainTransport,
        ssl=tls if bare.startswith("amqps:") else False,
        heartbeat=HEARTBEAT,
        connect_timeout=CONNECT_TIMEOUT / 2,
        # py-amqp's own 1 s would drop the connection on every hiccup of the network (py-amqp 5.4.2).
        transport_options={"socket_settings": {_USER_TIMEOUT: int(HEARTBEAT * 2000)} if _USER_TIMEOUT else {}},
    )


def connection_errors(url: str) -> tuple[type[Exception], ...]:
    """What a connection to this broker raises where it is away, refuses or is lost."""
    connection = Connection(split(url)[0])
    return (*connection.connection_errors, *connection.channel_errors, KombuError, OSError)


def exchange(name: str, durable: bool, embedded: bool = False) -> Exchange:
    """One of Peatio's exchanges as it declares them itself."""
    kind = EXCHANGES[name]
    if embedded and kind == "headers":
        kind = "fanout"  # what a binding without arguments comes to; kombu's memory:// knows no headers exchange
    return Exchange(name, kind, durable=durable, auto_delete=False)


def is_embedded(connection: Connection) -> bool:
    """Whether a connection is to the in-process broker."""
    return bool(connection.transport.driver_type == "memory")


def shown_url(url: str) -> str:
    """Host and port of a URL, without its password."""
    return url.rpartition("@")[2].partition("?")[0] or url


def describe_error(error: BaseException) -> str:
    """An error of the broker's, for people: what is wrong with TLS and its remedy, or the error in its own words."""
    return str(tls_fault(error) or error) or type(error).__name__
