"""An echo service: this package's WebSocket transport without Peatio's protocol, for conformance suites and benches.

    WEBSOCKET_MAX_MESSAGE_BYTES=16777216 WEBSOCKET_OUTBOX_BYTES=134217728 \\
        gunicorn -c /dev/null -k peatio_ws.worker.Worker examples.echo

Run it in the project's folder; `-c /dev/null`, because the `gunicorn.conf.py` there is the gateway's and asks for its
keys. The limits come out of the environment, by the worker (`Settings.limits_from_env`): a message over
`WEBSOCKET_MAX_MESSAGE_BYTES` ends the connection with 1009, and a client that sends without reading its echoes with
4413 as soon as more than `WEBSOCKET_OUTBOX_BYTES` wait for it. The worker sends pings, ends silent clients, and tells
all of them of its own end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """WSGI: every message goes back as it came."""
    ws = environ.get("wsgi.websocket")
    if ws is None:
        start_response("426 Upgrade Required", [("Content-Type", "text/plain"), ("Upgrade", "websocket")])
        return [b"Connect with a WebSocket client.\n"]
    for message in ws:
        ws.send(message)
    return []
