"""The operator's port: `/metrics`, `/healthz`, `/readyz`. Its socket is bound once and shared by all workers, and
whichever takes a request speaks for itself; one whose loop does not turn takes none.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
from gevent.pywsgi import WSGIServer
from gevent.socket import socket as gevent_socket

from peatio_ws import metrics, ports
from peatio_ws.errors import ConfigurationError
from peatio_ws.gateway import Gateway
from peatio_ws.settings import Settings

STUCK_SECONDS: Final = 5.0
"""A worker whose loop has not turned for so long is told of; it should once a second."""

faults: list[str] = []
"""What keeps this worker from starting."""
_server: WSGIServer | None = None
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
    """Answer on the master's socket from this worker; nothing if there is none (another server than gunicorn).
    Idempotent."""
    global _server
    if _listener is not None and _server is None:
        shared = gevent_socket(_listener.family, _listener.type, fileno=os.dup(_listener.fileno()))
        _server = WSGIServer(shared, application, log=None, error_log=None)
        _server.start()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """WSGI: what a scraper, a load balancer or a person asks."""
    path = environ.get("PATH_INFO", "")
    status, kind = "200 OK", "application/json"
    if path == "/metrics":
        try:
            body, kind = metrics.text(), "text/plain; version=0.0.4; charset=utf-8"
        except TimeoutError as error:
            status, body = "503 Service Unavailable", msgspec.json.encode({"error": str(error)})
    elif path == "/healthz":
        # gunicorn deals with the others: no reason to end this worker, too.
        body = msgspec.json.encode({"ok": True, "problems": _stuck()})
    elif path == "/readyz":
        problems = faults + [problem for gateway in Gateway.instances() for problem in gateway.problems()]
        body = msgspec.json.encode({"ready": not problems, "problems": problems})
        status = "503 Service Unavailable" if problems else status
    else:
        status, body = "404 Not Found", b'{"error":"there are /metrics, /healthz and /readyz"}'
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]


def _stuck() -> list[str]:
    """Workers whose loop does not turn, in words."""
    ages = {pid: time.time() - at for pid, at in metrics.turned_at().items()}
    return [
        f"worker {pid} does not turn, for {age:.0f} s now; gunicorn ends it after its timeout"
        for pid, age in sorted(ages.items())
        if age > STUCK_SECONDS
    ]
