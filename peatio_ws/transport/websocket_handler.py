"""The HTTP side of a WebSocket: gevent-websocket's request handler with a strict handshake.

`Handler` is for gunicorn's worker and `geventwebsocket.server`: it checks the request and puts a `WebSocket` into
`environ["wsgi.websocket"]`, which upgrades at its first use. Knows nothing of frames and of Peatio.
"""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, ClassVar, Final

import gevent
import gevent.socket
import structlog
from gevent.pywsgi import WSGIHandler
from geventwebsocket.exceptions import WebSocketError
from geventwebsocket.handler import WebSocketHandler
from websockets.utils import accept_key

from peatio_ws.close_codes import Close
from peatio_ws.config import allowed_origins
from peatio_ws.config.settings import Settings
from peatio_ws.errors import Disconnect, Refused
from peatio_ws.monitoring import limits, metrics
from peatio_ws.transport.compression import Compression, negotiate
from peatio_ws.transport.http.client_address import client_address
from peatio_ws.transport.http.handshake import RawSocket, check_handshake, respond, switch_protocols, wants_upgrade
from peatio_ws.transport.http.request_handler import PendingRequest, TimedHandler
from peatio_ws.transport.websocket import WebSocket

log = structlog.get_logger("peatio_ws.transport.websocket_handler")

_SWITCHING: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %b\r\n%b\r\n"
)
_LOGGED: Final = ("REQUEST_METHOD", "PATH_INFO", "SERVER_PROTOCOL", "HTTP_USER_AGENT", "peatio_ws.connection")
"""What an access log gets of a request, in addition to its path and address. A token may be in the query, in a cookie,
and in many headers."""


class Handler(TimedHandler, WebSocketHandler):  # type: ignore[misc]  # gevent-websocket has no types
    """gevent-websocket's handler with corrections: the handshake is strict, errors have bodies, and nothing is upgraded
    before the application could refuse.

    Class attributes:
        serving: WebSockets that an application serves within its request; a `Gateway` keeps its own list.
        settings: time limits of requests, and limits for connections that the application does not `accept` itself.
            The worker sets them from the environment.
    """

    idle: ClassVar[dict[Any, PendingRequest]] = {}
    serving: ClassVar[set[WebSocket]] = set()
    settings: ClassVar[Settings] = Settings()
    _upgraded = False

    @property
    def request_seconds(self) -> float:
        return self.settings.handshake_timeout

    @property
    def send_seconds(self) -> float:
        return self.settings.send_timeout

    def run_application(self) -> None:
        try:
            if wants_upgrade(self.environ):
                check_handshake(self.environ)
                self._run_websocket()
            else:
                WSGIHandler.run_application(self)
        except Refused as refused:
            log_refusal(refused, secrets.token_hex(6), client_address(self.environ, self.settings), self.environ)
            self.close_connection = True
            self.result = respond(refused, self.start_response)
            self.process_result()
        finally:
            self.discard_body()

    def _run_websocket(self) -> None:
        """Call the application. However it ends, a connection that it upgraded ends with a closing handshake."""
        self.environ["wsgi.websocket"] = websocket = WebSocket(self.upgrade, self.settings)
        self.environ["peatio_ws.connection"] = websocket.id
        self.serving.add(websocket)
        try:
            # Bypass gevent-websocket's own run_application, which upgrades before it calls the application.
            WSGIHandler.run_application(self)
        except Disconnect as disconnect:
            websocket.close(disconnect.code, disconnect.reason)
        except (Exception, gevent.Timeout) as error:
            if not self._upgraded or websocket.moved:
                raise
            if not (isinstance(error, WebSocketError) and websocket.closed):  # it sent to a disconnected client
                log.exception("handler failed", connection=websocket.id)
            websocket.outbox.close(Close.INTERNAL_ERROR)
        finally:
            self.serving.discard(websocket)
            if not websocket.moved:
                websocket.end()

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """Do nothing after the upgrade: frameworks answer every request. If a framework has caught an exception of its
        view, its answer is the only sign of it."""
        if not self._upgraded:
            if self.close_connection and not any(name.lower() == "connection" for name, _ in headers):
                headers = [*headers, ("Connection", "close")]
            return super().start_response(status, headers, exc_info)
        websocket = self.environ["wsgi.websocket"]
        if status.startswith("5") and not websocket.moved:
            websocket.outbox.close(Close.INTERNAL_ERROR)
        return self.write

    def write(self, data: bytes) -> None:
        if not self._upgraded:
            super().write(data)

    def get_environ(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environ()
        environ["gunicorn.sock"] = self.socket
        environ["RAW_URI"] = self.path
        return environ

    def log_request(self) -> None:
        """Write gunicorn's access log, for HTTP and WebSocket alike; gevent-websocket's handler does not."""
        log: Any = getattr(self.server, "log", None)
        if self.environ is None:
            return  # the log has invalid requests already
        # With a `logconfig_dict`, gunicorn would format a line even without a handler for it (27.0.1).
        if hasattr(log, "access") and log.access_log.handlers:
            status, headers = self._orig_status or "000", self.response_headers or []
            response = SimpleNamespace(status=status, headers=headers, sent=self.response_length)
            seen = {name: self.environ.get(name, "-") for name in _LOGGED}
            seen |= {"RAW_URI": self.path.partition("?")[0]}
            seen |= {"REMOTE_ADDR": client_address(self.environ, self.settings) or "-"}
            log.access(response, [], seen, timedelta(seconds=max(self.time_finish - self.time_start, 0)))

    def upgrade(self, subprotocol: str | None = None) -> RawSocket:
        """Take the socket out of the request, with the bytes that the client sent early, and the 101 to send first.

        gevent-websocket's own `upgrade_connection` would write the 101 at once, separately from the first message, and
        leave an object whose `__del__` costs as much as the rest of the upgrade (0.10.1).
        """
        sock, rfile, body = self.socket, self.rfile, self.wsgi_input
        fields, compression = self._negotiate()
        if subprotocol is not None:
            fields += b"Sec-WebSocket-Protocol: %b\r\n" % subprotocol.encode()
        answer = _SWITCHING % (accept_key(self.environ["HTTP_SEC_WEBSOCKET_KEY"].strip()).encode(), fields)
        early = read_ahead(sock, rfile)
        rfile.close()
        body.rfile, body.content_length, body.chunked_input = None, 0, False  # frames follow, whatever the headers say
        let_go = getattr(self.server, "release", None)  # only the server of this package has it
        if let_go is not None:
            let_go(sock)
        elif not is_tls(sock):
            sock = gevent.socket.socket(sock.family, sock.type, sock.proto, fileno=sock.detach())
        may_move = let_go is not None or not is_tls(sock)
        self.status = b"101 Switching Protocols"
        self._orig_status, self.code = "101 Switching Protocols", 101
        self._upgraded = self.headers_sent = self.close_connection = True
        self.socket = self.rfile = None
        self.environ["RAW_URI"] = self.path.partition("?")[0]  # the query may contain a token
        return RawSocket(sock, early, answer, may_move, compression)

    def _negotiate(self) -> tuple[bytes, Compression | None]:
        """Return the header field for the agreed extension, empty if none, and the agreed compression."""
        offers = self.environ.get("HTTP_SEC_WEBSOCKET_EXTENSIONS")
        if not (offers and self.settings.compression):
            return b"", None
        agreed = negotiate(offers, self.settings.compression_threshold)
        if agreed is None:
            return b"", None
        return b"Sec-WebSocket-Extensions: %b\r\n" % agreed.answer.encode(), agreed.compression


def is_tls(sock: Any) -> bool:
    """Return whether a gevent socket uses TLS."""
    return hasattr(sock, "do_handshake")


def read_ahead(sock: Any, rfile: Any) -> bytes:
    """Return the bytes that a buffered reader holds, without waiting for more."""
    sock.settimeout(0.0)
    try:
        return bytes(rfile.peek())
    except OSError:
        return b""
    finally:
        sock.settimeout(None)


def log_refusal(refused: Refused, connection: str, address: str, environ: dict[str, Any]) -> None:
    """Count and log a handshake that is answered with plain HTTP. For a 403, log the origin of the page."""
    origin = environ.get("HTTP_ORIGIN") if refused.code == 403 else None
    metrics.refusals.labels(refused.label).inc()
    fields = {"status": refused.code, "reason": refused.text} | (
        {"origin": allowed_origins.shown(origin)} if origin else {}
    )
    limits.report(log, refused, connection=connection, address=address, **fields)


def refuse(
    refused: Refused, ws: WebSocket | None, settings: Settings, start_response: Callable[..., Any]
) -> list[bytes]:
    """Answer a handshake that is refused: with HTTP, or with a close frame where the stock handler has upgraded it.

    Args:
        ws: of the request; None under another worker, whose response may be followed by a next request.
    """
    if ws is None or not ws.accepted_elsewhere:
        return respond(refused, start_response, ends=ws is not None)
    ws.accept(settings)
    switch_protocols(start_response)
    ws.close(refused.close, refused.reason)
    ws.end()
    return []


def _take_socket(stock: Any, _: str | None) -> RawSocket:
    """Take over the connection of a stock gevent-websocket `WebSocket`, whose 101 has been sent."""
    handler = stock.handler
    stock.closed = True  # otherwise its __del__ would write to the socket (gevent-websocket 0.10.1)
    return RawSocket(handler.socket, read_ahead(handler.socket, handler.rfile), b"", may_move=False)


WRONG_WORKER: Final = (
    "This server cannot upgrade to WebSocket. Start the application with `peatio-ws run MODULE`, which runs gunicorn "
    "with the right worker."
)


def websocket_of(environ: dict[str, Any]) -> WebSocket | None:
    """Return the WebSocket of an upgrade request, of this package's handler or the stock one; None if there is none."""
    found = environ.get("wsgi.websocket")
    if found is None or isinstance(found, WebSocket):
        return found
    upgrade = functools.partial(_take_socket, found)
    environ["wsgi.websocket"] = mine = WebSocket(upgrade, Handler.settings, accepted_elsewhere=True)
    return mine
