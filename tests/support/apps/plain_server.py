"""A gateway under wsgiref's server, which does not support WebSockets and follows WSGI strictly."""

from __future__ import annotations

import os
from wsgiref.simple_server import demo_app, make_server

from peatio_ws import Gateway

if __name__ == "__main__":
    make_server("127.0.0.1", int(os.environ["WEBSOCKET_PORT"]), Gateway.from_env(app=demo_app)).serve_forever()
