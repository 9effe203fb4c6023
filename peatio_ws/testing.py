"""For tests of people's own handlers: a gateway on a port of its own, with everything it needs inside this process.

No RabbitMQ, Redis or gunicorn, and no patches by gevent: server and handlers run in one thread of their own, the test
in another. The in-process broker stands in RabbitMQ's place; all else is what is served.

    from peatio_ws import testing

    def test_echo():
        gateway = testing.gateway()
        ...                                     # or: from my_application import application
        with testing.serve(gateway) as server:
            client = server.connect("/echo")
            client.send("hello")
            assert client.receive() == "hello"
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Final, Self

import gevent
import gevent.event
from gevent.pywsgi import WSGIServer
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from peatio_ws.auth import keys
from peatio_ws.auth.signing import session_token
from peatio_ws.config.settings import Settings
from peatio_ws.config.urls import EMBEDDED_BROKER
from peatio_ws.console.page import WSGIApp
from peatio_ws.publisher import Publisher
from peatio_ws.server.gateway import Gateway
from peatio_ws.transport.websocket_handler import Handler

WAIT: Final = 30.0
"""Seconds in which anything expected has to come, unless the test says otherwise: only a failing test waits so long."""
CLOSE_SECONDS: Final = 5.0
"""How long the end of a client, or of the server, may take. What has not ended by then is cut off."""
START_SECONDS: Final = 30.0
ALGORITHM: Final = "ES256"


def environ(**variables: str) -> dict[str, str]:
    """The variables that a gateway needs to be tested: the in-process broker, and the public half of a key that signs
    the tokens of `Server.token`. With `os.environ.update(testing.environ())` before its import, an application that
    calls `Gateway.from_env()` can be served here.

    Args:
        variables: more of them, or others.
    """
    return {
        "AMQP_URL": EMBEDDED_BROKER,
        "JWT_ALGORITHM": ALGORITHM,
        "JWT_PUBLIC_KEY": keys.public_text(_key()),
        "WEBSOCKET_MAX_BLOCKING_SECONDS": "0",  # without gevent's patches whatever waits holds the loop
        **variables,
    }


def gateway(app: WSGIApp | None = None, **variables: str) -> Gateway:
    """A gateway of these variables and no others. ConfigurationError."""
    return Gateway(Settings.from_env(environ(**variables)), app)


@contextlib.contextmanager
def serve(application: WSGIApp) -> Iterator[Server]:
    """Serve a gateway, or a WSGI application that has one in it, on 127.0.0.1 until the block is left.

    It is there and hears the broker when the block is entered. Clients of it are closed at the end, and the gateway can
    be served again. A handler that blocks without gevent's patches holds up this server, and nothing else; to have it
    wait as in production, patch first of all: `gevent.monkey.patch_all()` at the beginning of `conftest.py`.
    """
    gateways = [application] if isinstance(application, Gateway) else Gateway.instances()
    listener = _run(lambda: _start(application, gateways))
    server = Server(listener.server_port)
    try:
        with contextlib.closing(server):
            yield server
    finally:
        _run(lambda: _stop(listener, gateways))


class Server:
    """A gateway that is served.

    Args:
        port: where, on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self._open = contextlib.ExitStack()

    @property
    def url(self) -> str:
        """Without a last slash."""
        return f"ws://127.0.0.1:{self.port}"

    @functools.cached_property
    def publisher(self) -> Publisher:
        """Publishes as Peatio does, from outside: the in-process broker has taken an event when a call returns, and
        clients get it a few milliseconds later."""
        return self._open.enter_context(Publisher(EMBEDDED_BROKER))

    def token(self, uid: str = "ID1", expires: int = 3600, **claims: Any) -> str:
        """A session token that verifies, without the scheme.

        Args:
            expires: seconds from now.
            claims: `member_id`, `role`, or any other; they count before those that are there by themselves.
        """
        return session_token(uid, expires, {"role": "member", **claims}, _key(), ALGORITHM)

    def connect(self, path: str = "/", token: str | None = None, **headers: str) -> Client:
        """A client that is connected, closed at the end at the latest.

        Args:
            path: query and all.
            token: for the header `Authorization`.
            headers: more of them, with _ for -: `origin="https://example.com"`.

        Raises:
            websockets.exceptions.InvalidStatus: refused with plain HTTP; its `response` says how.
        """
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            fields["Authorization"] = f"Bearer {token}"
        opening = connect(self.url + path, additional_headers=fields, open_timeout=WAIT, close_timeout=CLOSE_SECONDS)
        return Client(self._open.enter_context(opening))

    def member(self, uid: str = "ID1", **claims: Any) -> Client:
        """A client of the classic protocol that has authenticated: its next frame is an event, or an answer."""
        client = self.connect()
        assert "challenge" in client.json()
        client.send({"jwt": f"Bearer {self.token(uid, **claims)}"})
        answer = client.json()
        assert answer == {"success": {"message": "Authenticated."}}, answer
        return client

    def close(self) -> None:
        """End all its clients."""
        self._open.close()


class Client:
    """A client that waits for what it asks for.

    Args:
        connection: of the library `websockets`, for whatever else a test needs.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def send(self, message: object) -> None:
        """A str as text, bytes as binary, anything else as JSON. ConnectionClosed."""
        self.connection.send(message if isinstance(message, str | bytes) else json.dumps(message))

    def receive(self, timeout: float = WAIT) -> str | bytes:
        """The next message. TimeoutError; ConnectionClosed if the connection ends."""
        return self.connection.recv(timeout=timeout)

    def json(self, timeout: float = WAIT) -> Any:
        """The next message, out of JSON."""
        return json.loads(self.receive(timeout))

    def closed(self, timeout: float = WAIT) -> tuple[int, str]:
        """Wait until the connection ends: code and reason of the close frame; (1006, "") where there was none.
        AssertionError for a message that comes before. TimeoutError."""
        try:
            message = self.receive(timeout)
        except ConnectionClosed as end:
            return (end.rcvd.code, end.rcvd.reason) if end.rcvd is not None else (1006, "")
        raise AssertionError(f"a message came before the end: {message!r}")

    def close(self) -> None:
        """Close it with 1000; harmless a second time."""
        self.connection.close()


# ---- the thread with the loop


@functools.cache
def _key() -> keys.PrivateKey:
    return keys.new_private_key(ALGORITHM)


def _start(application: WSGIApp, gateways: list[Gateway]) -> Any:
    listener = WSGIServer(("127.0.0.1", 0), application, handler_class=Handler, log=None)
    listener.start()
    for one in gateways:
        one.start()
    deadline = time.monotonic() + START_SECONDS
    while problems := [problem for one in gateways for problem in one.problems()]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"not ready within {START_SECONDS:g} s: {', '.join(problems)}")
        gevent.sleep(0.005)
    return listener


def _stop(listener: Any, gateways: list[Gateway]) -> None:
    listener.stop(timeout=CLOSE_SECONDS)
    for one in gateways:
        one.stop()


def _run(job: Callable[[], Any]) -> Any:
    """Have something done in the loop's thread, and wait for what comes of it."""
    return _loop().run(job)


@functools.cache
def _loop() -> _Loop:
    return _Loop()


class _Loop:
    """A thread with a gevent loop, for as long as the process lives."""

    def __init__(self) -> None:
        self._jobs: deque[Callable[[], None]] = deque()
        self._there = threading.Event()
        threading.Thread(target=self._live, name="peatio_ws.testing", daemon=True).start()
        self._there.wait(START_SECONDS)

    def run(self, job: Callable[[], Any]) -> Any:
        """What it returns, or raises."""
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def do() -> None:
            try:
                future.set_result(job())
            except BaseException as error:
                future.set_exception(error)

        self._jobs.append(do)
        self._wake.send()
        return future.result(timeout=2 * START_SECONDS)

    def _live(self) -> None:
        self._wake = gevent.get_hub().loop.async_()
        self._wake.start(self._take)
        self._there.set()
        gevent.event.Event().wait()

    def _take(self) -> None:
        while self._jobs:
            gevent.spawn(self._jobs.popleft())
