"""A gateway that serves the console of a real exchange, and plays connections that end as a script says."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, NamedTuple

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from peatio_ws.console.page import Page

FILES = Page(lambda *_: [], False, None, "btcusd")._files


class Played(NamedTuple):
    """How a connection goes.

    Attributes:
        complete: whether the gateway has all missed private events.
        ends: with what message the connection ends: the subscription to private streams (`subscribe`), or the ping
            after it (`ping`), which remains unanswered. Otherwise it stays open.
    """

    complete: bool
    ends: str = ""


@contextlib.contextmanager
def played_console(*connections: Played, asks: Any = (), bids: Any = ()) -> Iterator[int]:
    """Serve, and yield the port.

    Args:
        asks, bids: the book.
    """
    waiting = list(connections)

    def files(client: ServerConnection, request: Request) -> Response | None:
        if "Upgrade" in request.headers:
            return None
        file = FILES.get(request.path)
        if file is None:
            return client.respond(HTTPStatus.NOT_FOUND, "")
        headers = {"Content-Type": file.kind, "Content-Length": str(len(file.body)), "Connection": "close"}
        return Response(200, "OK", Headers(headers), file.body)

    def play(client: ServerConnection) -> None:
        played, is_subscribed = waiting.pop(0), False

        def say(message: str, streams: list[str], **more: Any) -> None:
            client.send(json.dumps({"success": {"message": message, "streams": streams}, **more}))

        client.send(json.dumps({"btcusd.ob-snap": {"asks": asks, "bids": bids, "sequence": 1}}))
        say("subscribed", ["btcusd.trades", "global.tickers"])
        with contextlib.suppress(ConnectionClosed):
            for text in client:
                message = {"event": "ping"} if text == "ping" else json.loads(text)
                event = message.get("event")
                is_subscribed = is_subscribed or "order" in message.get("streams", ())
                if "jwt" in message:
                    place = {"cursor": "c", "complete": played.complete}
                    client.send(json.dumps({"success": {"message": "Authenticated."}, "resume": place}))
                elif is_subscribed and event == played.ends == "ping":
                    break
                elif event == "ping":
                    client.send("pong")
                else:
                    more = {"echo": message["echo"]} if "echo" in message else {}
                    say(f"{event}d", ["order", "trade", "btcusd.trades"], **more)
                if is_subscribed and event == played.ends == "subscribe":
                    break
            client.close(1012, "restart")

    with serve(play, "127.0.0.1", 0, process_request=files) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.socket.getsockname()[1]
        server.shutdown()
        thread.join(10)
