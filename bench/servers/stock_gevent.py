"""A minimal gateway for private orders, with unmodified gevent-websocket and kombu.

Each client has a queue and a greenlet that sends from it. gunicorn serves it with gevent-websocket's worker.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import gevent
import jwt
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from gevent.queue import Queue
from geventwebsocket.exceptions import WebSocketError
from kombu import Connection, Consumer, Exchange, binding
from kombu import Queue as BrokerQueue

KEY = load_pem_public_key(Path(os.environ["JWT_PUBLIC_KEY_FILE"]).read_bytes())
members: dict[str, set[Queue[str]]] = {}  # by uid
streams: dict[str, set[Queue[str]]] = {}  # by name


def orderbook(body: bytes) -> str:
    order = json.loads(body)
    return json.dumps(
        {
            "orderbook": {
                "id": order["id"],
                "side": order["side"],
                "ord_type": order["ord_type"],
                "price": order["price"],
                "avg_price": order["avg_price"],
                "state": order["state"],
                "market_id": order["market"],
                "created_at": datetime.fromtimestamp(order["created_at"], UTC).isoformat(),
                "origin_volume": order["origin_volume"],
                "trades_count": order["trades_count"],
                "trades": [],
                "remaining_volume": order["remaining_volume"],
                "executed_volume": order["executed_volume"],
            }
        },
        separators=(",", ":"),
    )


def on_message(message: Any) -> None:
    kind, target, event = message.delivery_info["routing_key"].split(".")
    stream = f"{target}.{event}"
    queues = members.get(target) if kind == "private" else streams.get(stream)
    if queues and (kind != "private" or event == "order"):
        text = orderbook(message.body) if kind == "private" else f'{{"{stream}":{message.body}}}'
        for queue in queues:
            queue.put_nowait(text)


def consume() -> None:
    with Connection(os.environ["AMQP_URL"]) as connection:
        exchange = Exchange("peatio.events.ranger", "topic", durable=False)
        keys = [binding(exchange, "private.#"), binding(exchange, "public.#")]
        queue = BrokerQueue("", bindings=keys, exclusive=True, auto_delete=True, durable=False)
        with Consumer(connection, [queue], on_message=on_message, no_ack=True):
            Path(os.environ["READY_FILE"]).touch()
            while True:
                connection.drain_events()


def uid_of(text: str) -> str | None:
    try:
        token = json.loads(text)["jwt"].partition(" ")[2]
        claims = jwt.decode(
            token, KEY, algorithms=["RS256"], issuer="barong", audience="peatio", options={"require": ["exp", "uid"]}
        )
    except (jwt.PyJWTError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return str(claims["uid"])


def send_queued(ws: Any, queue: Queue[str]) -> None:
    try:
        for text in queue:
            ws.send(text)
    except (WebSocketError, OSError):
        pass


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    ws = environ.get("wsgi.websocket")
    if ws is None:
        start_response("426 Upgrade Required", [])
        return []
    ws.handler.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    queue: Queue[str] = Queue(10_000)
    writer = gevent.spawn(send_queued, ws, queue)
    uid = None
    (stream,) = parse_qs(environ["QUERY_STRING"]).get("stream", [None])
    try:
        if stream:
            streams.setdefault(stream, set()).add(queue)
            queue.put(json.dumps({"success": {"message": "subscribed", "streams": [stream]}}))
        else:
            queue.put(json.dumps({"challenge": secrets.token_urlsafe(40)}))
        while (text := ws.receive()) is not None:
            found = uid_of(text)
            if found is None or uid not in (None, found):
                queue.put('{"error":{"message":"Authentication failed."}}')
                continue
            uid = found
            members.setdefault(uid, set()).add(queue)
            queue.put('{"success":{"message":"Authenticated."}}')
    except (WebSocketError, OSError):
        pass
    finally:
        writer.kill()
        for register, name in ((members, uid), (streams, stream)):
            if name in register:
                register[name].discard(queue)
                if not register[name]:
                    del register[name]
    return []


gevent.spawn(consume)
