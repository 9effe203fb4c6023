"""The gateway in front of a WSGI application without gunicorn: under gevent-websocket's own server.

    JWT_PUBLIC_KEY=… AMQP_URL=… python examples/websocket_server.py

One process; no metrics port, no TLS of its own. What gunicorn's worker does for the gateway is done here by hand: the
broker is heard before the first client comes, and on TERM every client is told to come back.
"""

from gevent import monkey

monkey.patch_all()  # first of all

# ruff: noqa: E402
import os
import signal
from wsgiref.simple_server import demo_app

import gevent
from geventwebsocket.server import WebSocketServer

from peatio_ws import Gateway
from peatio_ws.handler import Handler

gateway = Gateway.from_env(app=demo_app)
address = (os.environ.get("WEBSOCKET_HOST", "0.0.0.0"), int(os.environ.get("WEBSOCKET_PORT", "8080")))
# Without `handler_class` it works, too, with gevent-websocket's looser handshake and more memory for each client.
server = WebSocketServer(address, gateway, handler_class=Handler)


def end() -> None:
    """Take nobody new, tell everybody, go."""
    server.close()
    gateway.drain()
    gateway.stop()
    server.stop()


gevent.signal_handler(signal.SIGTERM, gevent.spawn, end)
gateway.start()
server.serve_forever()
