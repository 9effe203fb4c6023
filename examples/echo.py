r"""An echo service: this package's WebSocket transport without Peatio's protocol, for conformance suites and benches.

    WEBSOCKET_MAX_MESSAGE_BYTES=16777216 WEBSOCKET_OUTBOX_BYTES=134217728 \
        .venv/bin/gunicorn -c /dev/null -k peatio_ws.worker.Worker examples.echo

Run it in the folder of the checkout. `-c /dev/null` is needed because `gunicorn.conf.py` there belongs to the gateway
and requires its keys. The worker reads the limits from the environment (`Settings.limits_from_env`). It closes a
connection with 1009 for a message over `WEBSOCKET_MAX_MESSAGE_BYTES`, and with 4413 if more than
`WEBSOCKET_OUTBOX_BYTES` wait for a client that does not read its echoes. The worker sends pings, disconnects silent
clients, and sends a close frame to all clients when it exits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Send every message back unchanged."""
    ws = environ.get("wsgi.websocket")
    if ws is None:
        start_response("426 Upgrade Required", [("Content-Type", "text/plain"), ("Upgrade", "websocket")])
        return [b"Connect with a WebSocket client.\n"]
    for message in ws:
        ws.send(message)
    return []
