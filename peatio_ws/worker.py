"""gunicorn's worker: gevent-websocket's, with strict handshakes, supervision and a drain that tells every client."""

from __future__ import annotations

import gc
import ssl
from typing import Any

import gevent
import gevent.event
from gevent.pywsgi import WSGIServer
from geventwebsocket.gunicorn.workers import GeventWebSocketWorker

from peatio_ws.gateway import Gateway
from peatio_ws.websocket import Handler

TLS_HANDSHAKE_SECONDS = 10.0


class Server(WSGIServer):  # type: ignore[misc]
    """pywsgi's server; a TLS handshake that does not come to an end is given up."""

    def wrap_socket_and_handle(self, client_socket: Any, address: Any) -> Any:
        with gevent.Timeout(TLS_HANDSHAKE_SECONDS) as timeout:
            try:
                wrapped = self.wrap_socket(client_socket, **self.ssl_args)
            except (gevent.Timeout, ssl.SSLError, OSError) as error:
                if isinstance(error, gevent.Timeout) and error is not timeout:
                    raise
                client_socket.close()
                return None
        try:
            return self.handle(wrapped, address)
        finally:
            wrapped.close()


class Worker(GeventWebSocketWorker):  # type: ignore[misc]  # gunicorn has no types
    """`worker_class` of gunicorn.conf.py."""

    server_class = Server
    wsgi_handler = Handler

    def run(self) -> None:
        gc.collect()
        gc.freeze()  # what is there now stays: connections need not be weighed against it
        self._stopping = gevent.event.Event()
        drain = gevent.spawn(self._drain)
        try:
            super().run()
            drain.join(self.cfg.graceful_timeout)
        finally:
            for gateway in Gateway.instances():
                gateway.stop()

    def _drain(self) -> None:
        self._stopping.wait()
        seconds = self.cfg.graceful_timeout * 0.5
        gevent.joinall([gevent.spawn(gateway.drain, seconds) for gateway in Gateway.instances()])

    def handle_exit(self, sig: int, frame: Any) -> None:
        super().handle_exit(sig, frame)
        self._stopping.set()

    def handle_quit(self, sig: int, frame: Any) -> None:
        super().handle_quit(sig, frame)
        self._stopping.set()
