"""A small server that speaks the gateway's protocols, for tests of `listen`."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from click.testing import CliRunner, Result
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from peatio_ws.cli.main import main
from tests.support.certificate import Certificate

WAIT = 20
"""Time limit of a test in seconds."""

CHALLENGE = {"challenge": "x"}
AUTHENTICATED = {"success": {"message": "Authenticated."}}
BOOK = {"btcusd.ob-snap": {"asks": [], "bids": [], "sequence": 1}}
TRADES = {"btcusd.trades": {"trades": []}}


def subscribed(*streams: str) -> dict[str, Any]:
    return {"success": {"message": "subscribed", "streams": list(streams)}}


class Peer:
    """The client of a small server: sends frames to it and receives its messages."""

    def __init__(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self._connection, self.request = connection, connection.request

    def send(self, *frames: Any) -> None:
        for frame in frames:
            self._connection.send(frame if isinstance(frame, str) else json.dumps(frame))

    def receive(self) -> Any:
        return json.loads(self._connection.recv(timeout=WAIT))

    def close(self, code: int, reason: str = "") -> None:
        self._connection.close(code, reason)

    @property
    def streams(self) -> list[str]:
        return parse_qs(urlsplit(self.request.path).query).get("stream", [])


class Served:
    def __init__(self) -> None:
        self.url, self.requests, self.failures = "", list[Request](), list[BaseException]()

    @property
    def bearer(self) -> str | None:
        (request,) = self.requests
        return request.headers.get("Authorization")


@contextlib.contextmanager
def server(
    script: Callable[[Peer], None],
    refuse: tuple[HTTPStatus, str] | None = None,
    certificate: Certificate | None = None,
) -> Iterator[Served]:
    """Serve every client with `script`, then wait until the client disconnects. With a certificate, over TLS."""
    served = Served()

    def process_request(connection: ServerConnection, request: Request) -> Response | None:
        served.requests.append(request)
        return connection.respond(*refuse) if refuse else None

    def handler(connection: ServerConnection) -> None:
        try:
            with contextlib.suppress(ConnectionClosed):  # the client disconnects once it has received enough
                script(Peer(connection))
                raise AssertionError(f"not expected: {connection.recv(timeout=WAIT)!r}")
        except BaseException as failure:
            served.failures.append(failure)

    tls = None
    if certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate.cert, certificate.key)
    with serve(handler, "127.0.0.1", 0, process_request=process_request, ssl=tls) as listener:
        thread = threading.Thread(target=listener.serve_forever)
        thread.start()
        served.url = f"{'wss://localhost' if tls else 'ws://127.0.0.1'}:{listener.socket.getsockname()[1]}"
        try:
            yield served
        finally:
            listener.shutdown()
            thread.join(WAIT)
    assert not served.failures, served.failures


def listen(line: str, **environ: str) -> Result:
    result = CliRunner().invoke(main, ["listen", *line.split()], env=environ)
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    return result


def frames(result: Result) -> list[Any]:
    return [json.loads(line) for line in result.stdout.splitlines()]
