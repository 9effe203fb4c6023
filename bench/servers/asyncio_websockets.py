"""A minimal gateway for private orders, with asyncio, websockets, aio-pika and uvloop."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import ssl
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aio_pika
import jwt
import uvloop
from aio_pika.abc import AbstractIncomingMessage
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

KEY = load_pem_public_key(Path(os.environ["JWT_PUBLIC_KEY_FILE"]).read_bytes())
members: dict[str, set[ServerConnection]] = {}  # by uid
streams: dict[str, set[ServerConnection]] = {}  # by name


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


async def on_delivery(message: AbstractIncomingMessage) -> None:
    kind, target, event = (message.routing_key or "..").split(".")
    # broadcast() does not wait. It writes to each transport.
    if kind == "private":
        if event == "order" and target in members:
            broadcast(members[target], orderbook(message.body))
    elif sockets := streams.get(f"{target}.{event}"):
        broadcast(sockets, f'{{"{target}.{event}":{message.body.decode()}}}')


def uid_of(text: str | bytes) -> str | None:
    try:
        token = json.loads(text)["jwt"].partition(" ")[2]
        claims = jwt.decode(
            token, KEY, algorithms=["RS256"], issuer="barong", audience="peatio", options={"require": ["exp", "uid"]}
        )
    except (jwt.PyJWTError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return str(claims["uid"])


async def serve_client(socket: ServerConnection) -> None:
    uid = None
    (stream,) = parse_qs(urlsplit(socket.request.path if socket.request else "").query).get("stream", [None])
    try:
        if stream:
            streams.setdefault(stream, set()).add(socket)
            await socket.send(json.dumps({"success": {"message": "subscribed", "streams": [stream]}}))
        else:
            await socket.send(json.dumps({"challenge": secrets.token_urlsafe(40)}))
        async for text in socket:
            found = uid_of(text)
            if found is None or uid not in (None, found):
                await socket.send('{"error":{"message":"Authentication failed."}}')
                continue
            uid = found
            members.setdefault(uid, set()).add(socket)
            await socket.send('{"success":{"message":"Authenticated."}}')
    except ConnectionClosed:
        pass
    finally:
        for register, name in ((members, uid), (streams, stream)):
            if name in register:
                register[name].discard(socket)
                if not register[name]:
                    del register[name]


async def main() -> None:
    broker = await aio_pika.connect(os.environ["AMQP_URL"])
    channel = await broker.channel()
    exchange = await channel.declare_exchange("peatio.events.ranger", aio_pika.ExchangeType.TOPIC, durable=False)
    queue = await channel.declare_queue("", exclusive=True, auto_delete=True, durable=False)
    for key in ("private.#", "public.#"):
        await queue.bind(exchange, key)
    await queue.consume(on_delivery, no_ack=True)
    tls = None
    if "TLS_CERT" in os.environ:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(os.environ["TLS_CERT"], os.environ["TLS_KEY"])
    port = int(os.environ["PORT"])
    # The transports of uvloop and asyncio set TCP_NODELAY.
    async with serve(serve_client, "127.0.0.1", port, ssl=tls, compression=None, max_size=16384, backlog=4096):
        Path(os.environ["READY_FILE"]).touch()
        await asyncio.Future()


uvloop.run(main())
