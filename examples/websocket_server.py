r"""The gateway in front of a WSGI application without gunicorn: under gevent-websocket's own server.

    AMQP_URL=memory:// JWT_ALGORITHM=HS256 JWT_PUBLIC_KEY=a-secret-of-32-characters-or-more \
        .venv/bin/python examples/websocket_server.py

`memory://` is a broker inside the process. Replace it with the URL of RabbitMQ, and the secret with your key. The
server is one process, without a metrics port and without TLS. The program does what gunicorn's worker would do for the
gateway: it connects to the broker before the first client connects, and on TERM it closes every connection with 1012.
"""

from gevent import monkey

monkey.patch_all()  # before all other imports

# ruff: noqa: E402
import os
import signal
from wsgiref.simple_server import demo_app

import gevent
from geventwebsocket.server import WebSocketServer

from peatio_ws import Gateway
from peatio_ws.transport.websocket_handler import Handler

gateway = Gateway.from_env(app=demo_app)
address = (os.environ.get("WEBSOCKET_HOST", "0.0.0.0"), int(os.environ.get("WEBSOCKET_PORT", "8080")))
# It also works without `handler_class`, with gevent-websocket's less strict handshake and more memory per client.
server = WebSocketServer(address, gateway, handler_class=Handler)


def end() -> None:
    """Stop listening, close all connections, exit."""
    server.close()
    gateway.drain()
    gateway.stop()
    server.stop()


gevent.signal_handler(signal.SIGTERM, gevent.spawn, end)
gateway.start()
server.serve_forever()
