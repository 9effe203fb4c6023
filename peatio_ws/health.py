"""The operator's port: `/metrics`, `/healthz`, `/readyz`. Its socket is bound once and shared by all workers."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from gevent.pywsgi import WSGIServer
from gevent.socket import socket as gevent_socket

from peatio_ws import metrics, ports
from peatio_ws.errors import ConfigurationError
from peatio_ws.gateway import Gateway
from peatio_ws.settings import Settings

_listener: socket.socket | None = None  # bound by gunicorn's master, inherited by its workers


def bind(settings: Settings) -> None:
    """Listen on `METRICS_HOST:METRICS_PORT`, in gunicorn's master; ConfigurationError if that cannot be."""
    global _listener
    host, port = settings.metrics_host, settings.metrics_port
    try:
        _listener = ports.listen(host, port)
    except OSError as error:
        raise ConfigurationError([ports.fault("METRICS", host, port, error)]) from None


def serve() -> None:
    """Answer on the master's socket from this worker; nothing if there is none (another server than gunicorn)."""
    if _listener is not None:
        shared = gevent_socket(_listener.family, _listener.type, fileno=os.dup(_listener.fileno()))
        WSGIServer(shared, application, log=None, error_log=None).start()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """WSGI: what a scraper, a load balancer or a person asks."""
    path = environ.get("PATH_INFO", "")
    status, kind = "200 OK", "application/json"
    if path == "/metrics":
        body, kind = metrics.text(), "text/plain; version=0.0.4; charset=utf-8"
    elif path == "/healthz":
        body = b'{"ok":true}'
    elif path == "/readyz":
        problems = [problem for gateway in Gateway.instances() for problem in gateway.problems()]
        body = msgspec.json.encode({"ready": not problems, "problems": problems})
        status = "503 Service Unavailable" if problems else status
    else:
        status, body = "404 Not Found", b'{"error":"there are /metrics, /healthz and /readyz"}'
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]
