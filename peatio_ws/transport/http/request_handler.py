"""gevent's handler of HTTP requests, with limits of time and size.

Used by `websocket_handler.py` for the gateway's port, and by `operator_port/` for the operator's. Knows neither
WebSocket nor Peatio.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import re
import socket as native_socket
import ssl
import time
from collections.abc import Callable
from typing import Any, ClassVar, Final, NamedTuple, TypeVar

import gevent
import structlog
from gevent.pywsgi import MAX_REQUEST_LINE, WSGIHandler

from peatio_ws.concurrency.yielding import let_others_run
from peatio_ws.monitoring import limits
from peatio_ws.monitoring.limits import Limit
from peatio_ws.transport.http.client_address import resolve
from peatio_ws.transport.http.headers import Headers, TooLarge, check_request_line
from peatio_ws.transport.outbox import SLICE
from peatio_ws.transport.receive import unread

log = structlog.get_logger("peatio_ws.transport.http.request_handler")

MOST_PENDING: Final = 1000
"""Connections of a worker that have not sent their request yet, including TLS handshakes. Above this limit, the one
that has waited longest is closed, if it has waited longer than `GRACE_SECONDS`."""
GRACE_SECONDS: Final = 2.0
"""The time that every client gets: a TLS handshake takes several round trips, in a rush also from a busy machine."""
_LOOKED_AT: Final = 20  # connections to check, those that have waited longest
_CLOSED_AT_ONCE: Final = 4  # per new connection: so a rush that could not be closed at first is worked off
_DISCARDED: Final = 1024  # bytes of a body to read at a time; in chunks of one byte each that takes 10 ms
_BAD_REQUEST: Final = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


T = TypeVar("T")


class PendingRequest(NamedTuple):
    """A connection that waits for a request.

    Attributes:
        again: whether an earlier request was answered.
        since: monotonic time.
    """

    again: bool
    since: float


class TimedHandler(WSGIHandler):  # type: ignore[misc]  # gevent has no types
    """pywsgi's handler with a limit for every wait. Each subclass has a separate `idle`.

    Class attributes:
        idle: sockets that wait for a request, the oldest first.
        most_pending: the limit of such sockets.
        grace: see `GRACE_SECONDS`.
    """

    idle: ClassVar[dict[Any, PendingRequest]]
    most_pending: ClassVar[int] = MOST_PENDING
    grace: ClassVar[float] = GRACE_SECONDS
    # pywsgi (26.9.0) logs a disconnected TLS client as an error of the application, with a traceback.
    ignored_socket_errors = (*WSGIHandler.ignored_socket_errors, ssl.SSL_ERROR_EOF)
    environ: Any  # of the current request; None before the first
    rfile: Any
    socket: Any
    _request_deadline: gevent.Timeout | None = None
    _waiting: Any = None  # the socket in `idle`; pywsgi drops its own reference before the end
    _closed = False  # to make room for others, before its request arrived

    @property
    def request_seconds(self) -> float:
        """Time limit for the head of a request, and for the rest of a body after the answer."""
        raise NotImplementedError

    @property
    def idle_seconds(self) -> float:
        """How long a connection stays open after an answer."""
        return self.request_seconds

    @property
    def send_seconds(self) -> float:
        """Time limit for each `SLICE` of an answer."""
        raise NotImplementedError

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            pass  # the client disconnected before it could receive the error
        except gevent.Timeout as timeout:
            if timeout is not self._request_deadline:
                raise
            if not self._is_kept():
                limits.reached(Limit.REQUEST_TIME, address=self.peer)
        finally:
            self._on_request()

    def _is_kept(self) -> bool:
        """Whether the connection was only kept open after an answer."""
        waiting = self.idle.get(self._waiting)
        return waiting is not None and waiting.again

    def read_requestline(self) -> str:
        again, self._waiting = self._waiting is not None, self.socket
        self.await_request(self.socket, again)
        self.environ = None
        if again and self.idle_seconds > self.request_seconds:
            self._request_deadline = gevent.Timeout.start_new(self.idle_seconds)
            self.rfile.peek(1)
            self._request_deadline.close()
            self.await_request(self.socket)
        let_others_run()  # the client may have sent any number of requests already
        # Not earlier: in a rush, a client whose request has arrived may wait longer than this for its turn.
        self._request_deadline = gevent.Timeout.start_new(self.request_seconds)
        line: str = super().read_requestline()
        if len(line) >= MAX_REQUEST_LINE:  # pywsgi answers with 414
            limits.reached(Limit.REQUEST_SIZE, address=self.peer)
        return line

    @classmethod
    def await_request(cls, sock: Any, again: bool = False) -> None:
        """Add a socket to `idle`; above the limit, make room."""
        cls.idle[sock] = PendingRequest(again, time.monotonic())
        for _ in range(_CLOSED_AT_ONCE):
            if len(cls.idle) <= cls.most_pending or not cls.make_room():
                break

    @classmethod
    def in_time(cls, sock: Any, seconds: float, read: Callable[[], T]) -> T:
        """Return what a connection begins with. Until then it counts as one that has not sent its request.

        Raises:
            TimeoutError: `read` took longer than these seconds.
        """
        cls.await_request(sock)
        try:
            with gevent.Timeout(seconds, TimeoutError):
                return read()
        finally:
            cls.idle.pop(sock, None)

    @classmethod
    def make_room(cls) -> bool:
        """Close the connection that has waited longest for its request. Return False if there is none to close.

        A connection with unread bytes waits for this worker, and is not closed: in a rush of honest clients there are
        many.
        """
        due = time.monotonic() - cls.grace
        for sock, waiting in list(itertools.islice(cls.idle.items(), _LOOKED_AT)):
            if waiting.since > due and not waiting.again:
                continue
            if not _has_unread(sock):
                del cls.idle[sock]
                if not waiting.again:
                    limits.reached(Limit.PENDING, most=cls.most_pending)
                _shut(sock, native_socket.SHUT_RDWR)
                return True
        return False

    @classmethod
    def end_idle(cls, only_kept: bool = False) -> None:
        """Stop reading from connections without a request in progress: nothing is lost, and a worker can end.

        Args:
            only_kept: only those that were kept open after an answer.
        """
        for sock, waiting in list(cls.idle.items()):
            if waiting.again or not only_kept:
                _shut(sock, native_socket.SHUT_RD)

    def MessageClass(self, rfile: Any, *_: Any) -> Headers:  # pywsgi's name and signature
        return Headers(rfile)

    def read_request(self, raw_requestline: str) -> Any:
        try:
            check_request_line(raw_requestline)
            super().read_request(raw_requestline)
            # A proxy may see another end of the chunks than pywsgi: do not take what follows for a request.
            self.close_connection |= self.headers.get("transfer-encoding") is not None
            return True
        finally:
            self._on_request()

    def _on_request(self) -> None:
        self._closed = self.idle.pop(self._waiting, None) is None
        if self._request_deadline is not None:
            self._request_deadline.close()

    @property
    def peer(self) -> str:
        """The address of the connection, for the log and for limits."""
        peer = self.client_address[0] if isinstance(self.client_address, tuple) else ""
        return resolve(peer, {}, ())

    def _handle_client_error(self, ex: Exception) -> tuple[str, bytes] | None:
        """Answer an invalid request. pywsgi would log what it received, which may contain a token, and a traceback for
        a client that disconnects within a request (26.9.0)."""
        if self._closed or isinstance(ex, ConnectionError | TimeoutError | ssl.SSLError):
            return None
        if isinstance(ex, TooLarge):
            limits.reached(Limit.REQUEST_SIZE, address=self.peer)
            return "431", _TOO_LARGE
        reason = re.split("[:;]", str(ex))[0][:80]  # the rest is the client's text
        limits.log_line(log, "request cannot be read", address=self.peer, reason=reason)
        return "400", _BAD_REQUEST

    def discard_body(self) -> None:
        """Read what the application left of the request's body. pywsgi would wait for it without limit, and would not
        let other greenlets run while it arrives (26.9.0)."""
        body = self.wsgi_input
        if body._chunked_input_error or not (body.chunked_input or body.position < (body.content_length or 0)):
            return
        body.send_100_continue_enabled = False
        try:
            with gevent.Timeout(self.request_seconds, TimeoutError):
                while body.read(_DISCARDED):
                    let_others_run()
            return
        except TimeoutError:
            limits.reached(Limit.BODY, address=self.peer)
        except OSError:  # the client disconnected, or there is no body
            pass
        self.close_connection = True
        body.content_length, body.chunked_input = 0, False

    # An answer to HEAD has no body (RFC 9110 section 9.3.2), though the application may return one. pywsgi (26.9.0)
    # would send it, and the client would take it for the next answer.

    def process_result(self) -> None:
        if self.command != "HEAD":
            super().process_result()
            return
        for _ in self.result:
            if self.status:
                break  # the rest is the body, which may be endless
        if not self.headers_sent:
            self.write(b"")

    def _write(self, data: bytes) -> None:
        if self.command != "HEAD":
            super()._write(data)

    def _sendall(self, data: bytes) -> None:
        """Send in pieces. The client has to accept each within `send_seconds`; pywsgi would wait without limit
        (26.9.0)."""
        for at in range(0, len(data), SLICE):
            gone = ConnectionResetError(errno.ECONNRESET, "client read nothing of an answer for too long")
            try:
                with gevent.Timeout(self.send_seconds, gone):
                    super()._sendall(data[at : at + SLICE])
            except ConnectionResetError as error:
                if error is gone:
                    limits.reached(Limit.ANSWER_TIME, address=self.peer)
                raise


def _has_unread(sock: Any) -> bool:
    """Return whether a socket has unread bytes."""
    try:
        return unread(sock) > 0
    except (OSError, ValueError):
        return False


def _shut(sock: Any, how: int) -> None:
    with contextlib.suppress(OSError):
        # The plain socket: on shutdown(), gevent's TLS socket drops its TLS state while its reader runs (26.9.0).
        sock._sock.shutdown(how)
