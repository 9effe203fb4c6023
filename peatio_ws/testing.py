"""A gateway inside the test process, on its own port, for tests of your handlers.

It needs no RabbitMQ, Redis, gunicorn or patches by gevent. Server and handlers run in a dedicated thread, the test in
another. An in-process broker replaces RabbitMQ; everything else is the production code.

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

import contextlib
import functools
import gc
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Final, Self

import gevent
from gevent.pywsgi import WSGIServer
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from peatio_ws.auth import keys
from peatio_ws.auth.signing import session_token
from peatio_ws.concurrency.loop_thread import LoopThread
from peatio_ws.config.settings import NAMES, Settings
from peatio_ws.config.urls import EMBEDDED_BROKER
from peatio_ws.config.variables import RBAC
from peatio_ws.console.page import WSGIApp
from peatio_ws.publisher import Publisher
from peatio_ws.server.gateway import Gateway
from peatio_ws.transport.websocket_handler import Handler

WAIT: Final = 30.0
"""Default time limit for an expected message, in seconds. Only a failing test waits this long."""
CLOSE_SECONDS: Final = 5.0
"""Time limit for closing a client or the server. Connections that are still open are then cut off."""
START_SECONDS: Final = 30.0
ALGORITHM: Final = "ES256"


def environ(**variables: str) -> dict[str, str]:
    """Return the variables for a gateway under test: the in-process broker, and the public key of `Server.token`.

    An application that calls `Gateway.from_env()` can be served here, too. Call `os.environ.update(testing.environ())`
    before you import it. This empties all other variables of the gateway that the shell or CI may have set
    (`REDIS_URL`, `JWT_…`). If your application reads one of them itself, set it after the import.

    The gateway then refuses tokens that the application signs with its own key. To have these accepted instead of those
    of `Server.token`, name its algorithm and key: `environ(JWT_ALGORITHM="HS256", JWT_PUBLIC_KEY="…")`.

    Args:
        variables: additional or different variables.
    """
    roles = [name for name in os.environ if name.startswith(RBAC)]
    return {
        **dict.fromkeys([*sorted(NAMES), *roles], ""),  # an empty variable counts as not set
        "WEB_CONCURRENCY": "1",  # gunicorn reads it, too, and accepts no empty text
        "AMQP_URL": EMBEDDED_BROKER,
        "JWT_ALGORITHM": ALGORITHM,
        "JWT_PUBLIC_KEY": keys.public_text(_key()),
        "WEBSOCKET_MAX_BLOCKING_SECONDS": "0",  # without gevent's patches every wait blocks the loop
        **variables,
    }


def gateway(app: WSGIApp | None = None, **variables: str) -> Gateway:
    """Return a gateway that is configured by these variables only. Raises ConfigurationError."""
    return Gateway(Settings.from_env(environ(**variables)), app)


@contextlib.contextmanager
def serve(application: WSGIApp) -> Iterator[Server]:
    """Serve a gateway, or a WSGI application that contains one, on 127.0.0.1 until the block ends.

    When the block begins, the gateway accepts connections and receives from the broker. When it ends, clients are
    closed, and the gateway can be served again. Without gevent's patches, a handler that blocks delays this server, but
    not the test. To let handlers wait as in production, begin `conftest.py` with `gevent.monkey.patch_all()`.

    Raises:
        TimeoutError: the gateway is not ready in time; contains its problems, or the code that blocks its thread.
    """
    gateways = [application] if isinstance(application, Gateway) else _gateways_in_use()
    listener = _run(lambda: _start(application, gateways))
    server = Server(listener.server_port)
    try:
        with contextlib.closing(server):
            yield server
    finally:
        _run(lambda: _stop(listener, gateways))


class Server:
    """A running gateway.

    Args:
        port: its port on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self._open = contextlib.ExitStack()

    @property
    def url(self) -> str:
        """The URL of the gateway, without a trailing slash."""
        return f"ws://127.0.0.1:{self.port}"

    @functools.cached_property
    def publisher(self) -> Publisher:
        """A publisher that publishes as Peatio does.

        When a call returns, the in-process broker has the event. Clients receive it a few milliseconds later.
        """
        return self._open.enter_context(Publisher(EMBEDDED_BROKER))

    def token(self, uid: str = "ID1", expires: int = 3600, **claims: Any) -> str:
        """Return a valid session token, without the scheme.

        Args:
            expires: seconds from now.
            claims: `member_id`, `role` or any other claim; they override the default ones.
        """
        return session_token(uid, expires, {"role": "member", **claims}, _key(), ALGORITHM)

    def connect(
        self, path: str = "/", token: str | None = None, subprotocols: Sequence[str] = (), **headers: str
    ) -> Client:
        """Return a connected client. It is closed when the server ends.

        Args:
            path: path, with the query.
            token: token for the header `Authorization`.
            subprotocols: those that the client offers; `client.connection.subprotocol` is the agreed one.
            headers: additional headers, with _ for -: `origin="https://example.com"`.

        Raises:
            websockets.exceptions.InvalidStatus: the gateway refused with plain HTTP; see its `response`.
        """
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            fields["Authorization"] = f"Bearer {token}"
        opening = connect(
            self.url + path,
            additional_headers=fields,
            subprotocols=[Subprotocol(name) for name in subprotocols] or None,
            open_timeout=WAIT,
            close_timeout=CLOSE_SECONDS,
        )
        return Client(self._open.enter_context(opening))

    def member(self, uid: str = "ID1", **claims: Any) -> Client:
        """Return an authenticated client of the classic protocol. Its next frame is an event or a reply."""
        client = self.connect()
        assert "challenge" in client.json()
        client.send({"jwt": f"Bearer {self.token(uid, **claims)}"})
        answer = client.json()
        assert answer == {"success": {"message": "Authenticated."}}, answer
        return client

    def close(self) -> None:
        """Close all clients."""
        self._open.close()


class Client:
    """A blocking client.

    Args:
        connection: the connection of the library `websockets`, for anything else that a test needs.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def send(self, message: object) -> None:
        """Send a str as text, bytes as binary, anything else as JSON. Raises ConnectionClosed."""
        self.connection.send(message if isinstance(message, str | bytes) else json.dumps(message))

    def receive(self, timeout: float = WAIT) -> str | bytes:
        """Return the next message. Raises TimeoutError, or ConnectionClosed if the connection ends."""
        return self.connection.recv(timeout=timeout)

    def json(self, timeout: float = WAIT) -> Any:
        """Return the next message, decoded from JSON."""
        return json.loads(self.receive(timeout))

    def closed(self, timeout: float = WAIT) -> tuple[int, str]:
        """Wait until the connection ends. Return code and reason of the close frame, or (1006, "") without one.

        Raises AssertionError if a message arrives first, or TimeoutError.
        """
        try:
            message = self.receive(timeout)
        except ConnectionClosed as end:
            return (end.rcvd.code, end.rcvd.reason) if end.rcvd is not None else (1006, "")
        raise AssertionError(f"a message arrived before the close frame: {message!r}")

    def close(self) -> None:
        """Close the connection with 1000. Idempotent."""
        self.connection.close()


# ---- the thread with the loop


@functools.cache
def _key() -> keys.PrivateKey:
    return keys.new_private_key(ALGORITHM)


def _gateways_in_use() -> list[Gateway]:
    """Return the gateways of this process, without those that earlier tests left in reference cycles."""
    if Gateway.instances():
        gc.collect()  # the traceback of an exception that a test expected is such a cycle
    return Gateway.instances()


def _start(application: WSGIApp, gateways: list[Gateway]) -> Any:
    listener = WSGIServer(("127.0.0.1", 0), application, handler_class=Handler, log=None)
    listener.start()
    try:
        for one in gateways:
            one.start()
        deadline = time.monotonic() + START_SECONDS
        while problems := [problem for one in gateways for problem in one.problems()]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"not ready within {START_SECONDS:g} s: {', '.join(problems)}")
            gevent.sleep(0.005)
    except BaseException:
        _stop(listener, gateways)
        raise
    return listener


def _stop(listener: Any, gateways: list[Gateway]) -> None:
    listener.stop(timeout=CLOSE_SECONDS)
    for one in gateways:
        one.stop()


def _run(job: Callable[[], Any]) -> Any:
    """Run a function in the loop's thread, and return its result. Raises its exception, or TimeoutError."""
    return _loop().run(job, START_SECONDS + 2 * CLOSE_SECONDS)


@functools.cache
def _loop() -> LoopThread:
    return LoopThread("peatio_ws.testing")
