"""One WebSocket connection: gevent-websocket's handshake made strict, frames by `websockets`' sans-IO core, deadlines.

Two halves. `Handler` is the request handler for gunicorn's worker and `geventwebsocket.server`: it checks the handshake
and puts a `WebSocket` into `environ["wsgi.websocket"]`, which speaks from its first use on. `WebSocket` reads; all it
writes goes through its outbox. Knows nothing of Peatio.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import secrets
import socket as native_socket
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, ClassVar, Final

import gevent
import gevent.socket
import structlog
from gevent.pywsgi import WSGIHandler
from geventwebsocket.exceptions import WebSocketError
from geventwebsocket.handler import WebSocketHandler
from websockets.frames import Frame, Opcode
from websockets.protocol import State as ProtocolState
from websockets.utils import accept_key

from peatio_ws.errors import REASONS, Close, Disconnect, Refused
from peatio_ws.incoming import Incoming
from peatio_ws.outbox import CLOSE_SECONDS, NOT_SENT_BYTES, PING, Outbox, text_frame
from peatio_ws.settings import Settings

log = structlog.get_logger("peatio_ws.websocket")

READ_BYTES: Final = 16_384
TURN_SECONDS: Final = 0.01
"""How long one client may keep the hub with what it sends."""
VERSION: Final = "13"
_SWITCHING: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n"
)


def _loop_now() -> float:
    """When the hub was last at its loop, in the time of `time.time()`."""
    return float(gevent.get_hub().loop.now())


def wants_upgrade(environ: dict[str, Any]) -> bool:
    """Whether a request asks for a WebSocket (RFC 6455 section 4.1: `Upgrade: websocket`)."""
    return "websocket" in [token.strip().lower() for token in environ.get("HTTP_UPGRADE", "").split(",")]


def check_handshake(environ: dict[str, Any]) -> None:
    """The server's side of the opening handshake (RFC 6455 section 4.2.1).

    Raises:
        Refused: with 400, 405 or 426.
    """
    if environ["REQUEST_METHOD"] != "GET":
        raise Refused("405 Method Not Allowed", "A WebSocket is opened with GET.", (("Allow", "GET"),))
    if environ.get("SERVER_PROTOCOL") != "HTTP/1.1":
        raise Refused("426 Upgrade Required", "A WebSocket needs HTTP/1.1.", (("Upgrade", "websocket"),))
    connection = [token.strip().lower() for token in environ.get("HTTP_CONNECTION", "").split(",")]
    if "upgrade" not in connection:
        raise Refused("400 Bad Request", "Connection: Upgrade is missing; does a proxy in front drop it?")
    if not environ.get("HTTP_HOST"):
        raise Refused("400 Bad Request", "Host is missing.")
    if environ.get("HTTP_SEC_WEBSOCKET_VERSION", "").strip() != VERSION:
        raise Refused(
            "426 Upgrade Required",
            f"Sec-WebSocket-Version has to be {VERSION}.",
            (("Upgrade", "websocket"), ("Sec-WebSocket-Version", VERSION)),
        )
    try:
        key = base64.b64decode(environ.get("HTTP_SEC_WEBSOCKET_KEY", "").strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 16:
        raise Refused("400 Bad Request", "Sec-WebSocket-Key has to be 16 bytes in base64.")


class Handler(WebSocketHandler):  # type: ignore[misc]  # gevent-websocket has no types
    """gevent-websocket's handler with its faults mended: the handshake is checked to the letter, errors have bodies,
    nothing is upgraded before the application had a chance to refuse, and a request that does not arrive ends.

    Class attributes:
        idle: sockets on which a request is waited for.
        gave_away: whether the socket outlives the request, so that neither handler nor server may close it.
        settings: how long a request may take to arrive, and limits for connections that the application does not
            `accept` by itself; the worker sets them from the environment.
    """

    idle: ClassVar[set[Any]] = set()
    # For pywsgi (26.9.0) a TLS client that has gone is an error of the application, with a traceback.
    ignored_socket_errors = (*WSGIHandler.ignored_socket_errors, ssl.SSL_ERROR_EOF)
    environ: Any  # of the request that is served; None before there is one
    rfile: Any
    socket: Any
    settings: ClassVar[Settings] = Settings()
    _request_deadline: gevent.Timeout | None = None
    gave_away = False
    _upgraded = False

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            pass  # gone before it could be told that its request is none
        except gevent.Timeout as timeout:
            if timeout is not self._request_deadline:
                raise
        finally:
            self._request_is_there()

    def read_requestline(self) -> str:
        self._request_deadline = gevent.Timeout.start_new(self.settings.handshake_timeout)
        self.idle.add(self.socket)
        self.environ = None
        line: str = super().read_requestline()
        return line

    @classmethod
    def end_idle(cls) -> None:
        """Hear no more of who has not asked for anything (yet, or again): nothing is lost, and a worker can end."""
        for sock in list(cls.idle):
            with contextlib.suppress(OSError):
                # The plain one: gevent's TLS socket forgets on shutdown() that it is one, under its reader (26.9.0).
                sock._sock.shutdown(native_socket.SHUT_RD)

    def read_request(self, raw_requestline: str) -> Any:
        try:
            return super().read_request(raw_requestline)
        finally:
            self._request_is_there()

    def _request_is_there(self) -> None:
        self.idle.discard(getattr(self, "socket", None))
        if self._request_deadline is not None:
            self._request_deadline.close()

    def run_application(self) -> None:
        try:
            if wants_upgrade(self.environ):
                check_handshake(self.environ)
                self._run_websocket()
            else:
                WSGIHandler.run_application(self)
        except Refused as refused:
            self.close_connection = True
            self.result = respond(refused, self.start_response)
            self.process_result()
        finally:
            self._discard_body()

    def _discard_body(self) -> None:
        """Read what the application left of the request's body. pywsgi would wait for it without end (26.9.0)."""
        body = self.wsgi_input
        try:
            with gevent.Timeout(self.settings.handshake_timeout, TimeoutError):
                body._discard()
        except TimeoutError:
            self.close_connection = True
            body.content_length, body.chunked_input = 0, False

    def _run_websocket(self) -> None:
        """Call the application; however it ends, a connection it upgraded ends with a closing handshake."""
        self.environ["wsgi.websocket"] = websocket = WebSocket(self)
        try:
            # Past gevent-websocket's own run_application, which upgrades before the application is asked.
            WSGIHandler.run_application(self)
        except Disconnect as disconnect:
            websocket.close(disconnect.code, disconnect.reason)
        except Exception as error:
            if not self._upgraded or websocket.moved:
                raise
            if not (isinstance(error, WebSocketError) and websocket.closed):  # it sent to a client that had gone
                log.exception("handler failed", connection=websocket.id)
            websocket.outbox.close(Close.INTERNAL_ERROR)
        finally:
            if not websocket.moved:
                websocket.end()

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """Harmless after the upgrade: frameworks answer every request."""
        if self._upgraded:
            return self.write
        return super().start_response(status, headers, exc_info)

    def write(self, data: bytes) -> None:
        if not self._upgraded:
            super().write(data)

    def get_environ(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environ()
        environ["gunicorn.sock"] = self.socket
        environ["RAW_URI"] = self.path
        return environ

    def log_request(self) -> None:
        """gunicorn's access log, for HTTP and WebSocket alike; gevent-websocket's handler knows none."""
        log: Any = getattr(self.server, "log", None)
        if self.environ is None:
            return  # what is no request is in the error log already
        # gunicorn would put a line together for nobody, once there is a `logconfig_dict` (27.0.1).
        if hasattr(log, "access") and log.access_log.handlers:
            status, headers = self._orig_status or "000", self.response_headers or []
            response = SimpleNamespace(status=status, headers=headers, sent=self.response_length)
            log.access(response, [], self.environ, timedelta(seconds=max(self.time_finish - self.time_start, 0)))

    def upgrade(self) -> tuple[Any, bytes, bytes]:
        """Take the socket out of the request: it, what the client sent along, and the 101 that has to go out first.

        gevent-websocket's own `upgrade_connection` would write that at once, apart from the first message, and leave
        an object behind whose `__del__` costs as much as the rest of the upgrade (0.10.1).
        """
        sock, rfile, body = self.socket, self.rfile, self.wsgi_input
        answer = _SWITCHING % accept_key(self.environ["HTTP_SEC_WEBSOCKET_KEY"].strip()).encode()
        early = read_ahead(sock, rfile)
        rfile.close()
        body.rfile, body.content_length, body.chunked_input = None, 0, False  # frames, whatever the headers said
        if is_tls(sock):
            self.gave_away = getattr(self.server, "lets_go_of_tls", False)
        else:
            sock = gevent.socket.socket(sock.family, sock.type, sock.proto, fileno=sock.detach())
            self.gave_away = True
        self.status = b"101 Switching Protocols"
        self._orig_status, self.code = "101 Switching Protocols", 101
        self._upgraded = self.headers_sent = self.close_connection = True
        self.socket = self.rfile = None
        self.environ["RAW_URI"] = self.environ["PATH_INFO"]  # the query may hold a token
        return sock, early, answer


def is_tls(sock: Any) -> bool:
    """Whether a gevent socket encrypts."""
    return hasattr(sock, "do_handshake")


def read_ahead(sock: Any, rfile: Any) -> bytes:
    """What a buffered reader holds, without waiting for more."""
    sock.settimeout(0.0)
    try:
        return bytes(rfile.peek())
    except OSError:
        return b""
    finally:
        sock.settimeout(None)


def respond(refused: Refused, start_response: Any) -> list[bytes]:
    """Answer a handshake with plain HTTP."""
    body = refused.text.encode() + b"\n"
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response(refused.status, [*headers, ("Connection", "close"), *refused.headers])
    return [body]


class WebSocket:
    """A server's WebSocket. Speaks from its first use, or from `accept`; before that the application may still answer
    with plain HTTP. Legacy code for gevent-websocket finds `receive`, `send`, `close` and `closed` as it knows them.

    Args:
        handler: the request; let go once upgraded.

    Attributes:
        id: for the log, from the upgrade to the end.
        accepted_elsewhere: whether the stock handler has sent the 101 already.
        moved: whether it is served by a greenlet of its own.
        opened, heard, pinged: monotonic times, in seconds.
        received: messages of the client.
    """

    __slots__ = (
        "_handler",
        "_protocol",
        "_settings",
        "_sock",
        "accepted_elsewhere",
        "heard",
        "id",
        "moved",
        "opened",
        "outbox",
        "pinged",
        "received",
    )

    outbox: Outbox
    _protocol: Incoming
    _settings: Settings

    def __init__(self, handler: Any) -> None:
        self._handler: Any = handler
        self._sock: Any = None
        self.accepted_elsewhere = not isinstance(handler, Handler)
        self.moved = False
        self.id = secrets.token_hex(6)
        self.received = 0

    def accept(self, settings: Settings) -> None:
        """Upgrade now. Harmless a second time.

        Args:
            settings: `max_message_bytes`, `outbox_bytes`, `send_timeout` and the ping times are looked at.
        """
        if self._sock is not None:
            return
        handler = self._handler
        sock, early, answer = adopt(handler) if self.accepted_elsewhere else handler.upgrade()
        self._settings = settings
        self._sock = sock
        if sock.family != native_socket.AF_UNIX:
            sock.setsockopt(native_socket.IPPROTO_TCP, native_socket.TCP_NODELAY, 1)
            sock.setsockopt(native_socket.IPPROTO_TCP, native_socket.TCP_NOTSENT_LOWAT, NOT_SENT_BYTES)
        self.outbox = Outbox(sock, settings.outbox_bytes, settings.send_timeout)
        self._protocol = Incoming(settings.max_message_bytes)
        self.opened = self.heard = self.pinged = time.monotonic()
        if answer:
            self.outbox.put(answer)  # leaves together with the first message, or before the first wait
        if early:
            self._feed(early)

    def serve(self, run: Callable[[], None]) -> None:
        """Run the rest of an accepted connection, in a greenlet of its own where that can be.

        There the request is forgotten, and the stack has never been as deep as parsing HTTP makes it: it keeps 9 KB
        less for as long as the connection lives.
        """
        handler, self._handler = self._handler, None
        if self.accepted_elsewhere or not handler.gave_away:
            run()
        else:
            self.moved = True
            gevent.spawn(run)

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._sock is not None and self.outbox.closing != 0

    def _accepted(self) -> None:
        if self._sock is None:
            self.accept(Handler.settings)

    def receive(self) -> str | bytes | None:
        """The client's next message: text as str, binary as bytes; None once there will be no more.

        Blocks this greenlet only. Control frames are dealt with meanwhile.
        """
        self._accepted()
        self.outbox.flush()
        messages = self._protocol.messages
        while not messages:
            # Only now, so that the application's answer to a message leaves before a pong or close that came after it.
            self._answer(self._protocol.data_to_send())
            if self._protocol.state is not ProtocolState.OPEN or self.outbox.closing:
                return None
            self._feed(self._read())
        self.received += 1
        answers, message = messages.pop(0)
        self._answer(answers)
        return message

    def __iter__(self) -> Iterator[str | bytes]:
        while (message := self.receive()) is not None:
            yield message

    def send(self, message: str | bytes, binary: bool | None = None) -> None:
        """Send a message: str as text, bytes as binary, or as `binary` says. Never waits.

        Raises:
            WebSocketError: closed already; gevent-websocket's own, which legacy code expects.
        """
        self._accepted()
        if self.outbox.closing:
            raise WebSocketError("Connection is already closed")
        data = message.encode() if isinstance(message, str) else bytes(message)
        if binary is None:
            binary = not isinstance(message, str)
        self.outbox.send(Frame(Opcode.BINARY, data).serialize(mask=False) if binary else text_frame(data))

    def close(self, code: int = Close.NORMAL, reason: str | bytes | None = None) -> None:
        """Start the closing handshake, with the code's usual reason if none is given; harmless a second time.
        ValueError for a code that may not be sent."""
        self._accepted()
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
        disconnect = Disconnect(code, text)
        self.outbox.close(disconnect.code, disconnect.reason)

    def end(self) -> None:
        """Finish the closing handshake: read until the client has ended too, for `CLOSE_SECONDS` at most."""
        if self._sock is None:
            return
        self._answer(self._protocol.data_to_send())
        self.outbox.close(Close.NORMAL)
        with gevent.Timeout(CLOSE_SECONDS, False):
            while self._protocol.state is not ProtocolState.CLOSED and (data := self._read()):
                self._feed(data)
                self._protocol.messages.clear()  # nobody takes them any more
                self._answer(self._protocol.data_to_send())
        self._feed(b"")
        self.outbox.abort()
        self._sock.close()

    def _read(self) -> bytes:
        """Some bytes of the client, or none at its end. Lets others run in between, however fast it sends."""
        try:
            data: bytes = self._sock.recv(READ_BYTES)
        except OSError:
            return b""
        # gevent's recv() switches to the hub only when there is nothing to read (26.9.0): a client that fills the
        # buffer faster than it is emptied would keep the hub from everybody else, and from every timeout.
        if len(data) == READ_BYTES and time.time() - _loop_now() > TURN_SECONDS:
            gevent.sleep(1e-6)
        return data

    def tick(self, now: float) -> None:
        """Keep alive, or give up; called about once a second by the worker's keeper greenlet."""
        outbox, settings = self.outbox, self._settings
        if outbox.closing:
            if now > outbox.deadline:
                outbox.abort()
        elif now - self.heard > settings.ping_timeout:
            outbox.close(Close.IDLE, REASONS[Close.IDLE], cut=True)
        elif now - self.pinged > settings.ping_interval:
            self.pinged = now
            outbox.send(PING)

    @property
    def close_code(self) -> int:
        """The code this connection ended with: the first close frame of either side, else 1006."""
        protocol, own = self._protocol, self.outbox.closing
        if protocol.close_rcvd is not None and (protocol.close_rcvd_then_sent or not own):
            return int(protocol.close_rcvd.code)
        return own or 1006

    def _feed(self, data: bytes) -> None:
        """What came from the client, or its end (no bytes)."""
        protocol = self._protocol
        if protocol.state is ProtocolState.CLOSED:
            return
        if data:
            self.heard = time.monotonic()
        protocol.receive(data)

    def _answer(self, chunks: list[bytes]) -> None:
        """What the protocol has to say (pongs, close frames; nothing is the end) to the outbox."""
        outbox = self.outbox
        for chunk in chunks:
            if chunk:
                outbox.put(chunk)
            else:
                sent = self._protocol.close_sent
                outbox.end(sent.code if sent is not None else 1006)
        outbox.flush()


def adopt(stock: Any) -> tuple[Any, bytes, bytes]:
    """Take over the connection of a stock gevent-websocket `WebSocket`, whose 101 has been sent."""
    handler = stock.handler
    stock.closed = True  # or its __del__ would write to the socket (gevent-websocket 0.10.1)
    return handler.socket, read_ahead(handler.socket, handler.rfile), b""


def websocket_of(environ: dict[str, Any]) -> WebSocket | None:
    """The WebSocket of an upgrade request, under this package's handler or the stock one; None if there is none."""
    found = environ.get("wsgi.websocket")
    if found is None or isinstance(found, WebSocket):
        return found
    environ["wsgi.websocket"] = mine = WebSocket(found)
    return mine
