"""The server of a worker's sockets: pywsgi's, with limits for what comes before a request: PROXY protocol header, TLS.

Knows connections only until their first request (`websocket_handler.py`).
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar

from gunicorn.sock import ssl_context

from peatio_ws.monitoring import limits
from peatio_ws.monitoring.limits import Limit
from peatio_ws.server.gunicorn.accepting import AcceptingServer
from peatio_ws.transport.http import proxy_protocol
from peatio_ws.transport.tls import ServerTls
from peatio_ws.transport.tls_records import return_after_each_record
from peatio_ws.transport.websocket_handler import Handler


class Server(AcceptingServer):
    """pywsgi's server with a time limit for TLS handshakes, and certificates that are renewed while it runs."""

    running: ClassVar[list[Server]] = []
    """All of the worker."""
    tls: ClassVar[ServerTls | None] = None
    """Made by the master before it forks, or else by the worker. None without TLS."""
    _handle: Any
    """gevent calls it with each connection and its address."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._released: set[Any] = set()
        self.running.append(self)

    def release(self, sock: Any) -> None:
        """Keep a socket open when its request is over: another part of the worker uses it."""
        self._released.add(sock)

    def do_close(self, sock: Any, *_: Any) -> None:
        if sock in self._released:
            self._released.discard(sock)
        else:
            sock.close()

    def init_socket(self) -> None:
        super().init_socket()
        if Handler.settings.proxy_protocol:
            self._serve, self._handle = self._handle, self._read_proxy_header

    def _read_proxy_header(self, sock: Any, address: Any) -> None:
        """Serve a connection with the address in its PROXY protocol header."""
        settings = Handler.settings
        client_of = functools.partial(proxy_protocol.client_of, sock, address, settings.trusted_proxies)
        try:
            found = Handler.in_time(sock, settings.handshake_timeout, client_of)
        except (TimeoutError, proxy_protocol.Unreadable) as error:
            reason = str(error) or "no complete header in time"
            limits.reached(Limit.PROXY_HEADER, address=proxy_protocol.peer_of(address), reason=reason)
        except OSError:
            pass  # the load balancer closed the connection
        else:
            self._serve(sock, found)

    def wrap_socket_and_handle(self, client_socket: Any, address: Any) -> None:
        wrap = self.wrap_socket if self.tls is None else self.tls.context.wrap_socket
        # Two steps: a timeout inside wrap_socket() would leave the socket open, without an owner (gevent 26.9.0).
        try:
            wrapped = wrap(client_socket, do_handshake_on_connect=False, **self.ssl_args)
        except OSError:
            return
        try:
            return_after_each_record(wrapped)
            if _shake_hands(wrapped):
                self.handle(wrapped, address)
        finally:
            self.do_close(wrapped)


def _shake_hands(wrapped: Any) -> bool:
    try:
        Handler.in_time(wrapped, Handler.settings.handshake_timeout, wrapped.do_handshake)
    except TimeoutError:
        limits.reached(Limit.TLS_TIME)
        return False
    except OSError:  # an SSLError too
        return False
    return True


def server_tls(cfg: Any) -> ServerTls | None:
    """Return the TLS of gunicorn's settings; None without TLS.

    Raises:
        OSError: the certificate, its key or an authority cannot be used. An SSLError is an OSError.
    """
    return ServerTls(functools.partial(ssl_context, cfg), cfg.certfile, cfg.keyfile) if cfg.is_ssl else None
