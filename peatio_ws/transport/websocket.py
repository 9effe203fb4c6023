"""One WebSocket connection: an inbox for what its client sends, an outbox for everything it writes, and its deadlines.

Knows neither HTTP (`websocket_handler.py`) nor Peatio.
"""

from __future__ import annotations

import secrets
import socket as native_socket
from collections.abc import Callable, Iterator
from typing import Any, Final

import gevent
from geventwebsocket.exceptions import WebSocketError
from websockets.protocol import State as ProtocolState

from peatio_ws.close_codes import FINAL, REASONS, Close
from peatio_ws.config.settings import Settings
from peatio_ws.errors import Disconnect
from peatio_ws.transport.decoder import Ending, FrameDecoder
from peatio_ws.transport.frames import PING
from peatio_ws.transport.http.handshake import Upgrade
from peatio_ws.transport.inbox import MOST_UNREAD, Inbox
from peatio_ws.transport.outbox import CLOSE_SECONDS, NOT_SENT_BYTES, Outbox
from peatio_ws.transport.receive import Reader

IDLE_SECONDS: Final = 1.0
"""How long a client's greenlet waits for a byte before it ends."""
PONG_SECONDS: Final = 5.0
"""The least time that a client has to answer a ping: pings are late after the worker, or its machine, stood still."""


class WebSocket:
    """The server side of a WebSocket. It upgrades at its first use, or on `accept`; before that the application may
    still answer with plain HTTP. `receive`, `send`, `close` and `closed` are compatible with gevent-websocket.

    Args:
        upgrade: takes the socket out of the request; called once, with the subprotocol of the answer.
        settings: limits, unless `accept` gets others.

    Attributes:
        id: for the log, from the upgrade to the end.
        accepted_elsewhere: whether the stock handler has sent the 101 already.
        moved: whether a dedicated greenlet serves it.
        opened, pinged: monotonic times, in seconds.
        received: number of the client's messages.
    """

    __slots__ = (
        "_may_move",
        "_settings",
        "_sock",
        "_taken",
        "_upgrade",
        "accepted_elsewhere",
        "id",
        "inbox",
        "moved",
        "opened",
        "outbox",
        "pinged",
        "received",
    )

    inbox: Inbox
    outbox: Outbox

    def __init__(self, upgrade: Upgrade, settings: Settings, accepted_elsewhere: bool = False) -> None:
        self._upgrade: Upgrade | None = upgrade
        self._settings = settings
        self._sock: Any = None
        self._may_move = self.moved = False
        self.accepted_elsewhere = accepted_elsewhere
        self.id = secrets.token_hex(6)
        self.received = self._taken = 0

    def accept(self, settings: Settings | None = None, subprotocol: str | None = None) -> None:
        """Upgrade now, with this subprotocol in the answer. Idempotent.

        Args:
            settings: replace the request's settings for limits and times.
        """
        if self._upgrade is None:
            return
        sock, early, answer, self._may_move, compression = self._upgrade(subprotocol)
        self._sock, self._upgrade = sock, None  # release the request
        self._settings = settings = settings or self._settings
        if sock.family != native_socket.AF_UNIX:
            sock.setsockopt(native_socket.IPPROTO_TCP, native_socket.TCP_NODELAY, 1)
            sock.setsockopt(native_socket.IPPROTO_TCP, native_socket.TCP_NOTSENT_LOWAT, NOT_SENT_BYTES)
        self.outbox = Outbox(sock, settings.outbox_bytes, settings.send_timeout, compression)
        decoder = FrameDecoder(settings.max_message_bytes, compressed=compression is not None)
        self.inbox = Inbox(Reader(sock), decoder, early)
        self.opened = self.pinged = self.inbox.last_read
        if answer:
            self.outbox.put(answer)  # sent together with the first message, or before the first wait

    def serve(self, run: Callable[[], object], handles_idle: bool = False) -> None:
        """Run the rest of an accepted connection, in a new greenlet if possible, which saves 9 KB of stack.

        Args:
            handles_idle: whether `run` returns after `wait_idle` if `receive` raises `Idle`; it is called again later.
        """
        self.moved = self._may_move
        if self.moved:
            self.inbox.reader.start(run, handles_idle)
        else:
            run()

    def wait_idle(self) -> None:
        """Wait for the client without a greenlet, after `Idle`; see `Reader.wait_idle`."""
        self.inbox.wait_idle()

    @property
    def accepted(self) -> bool:
        """Whether it has been upgraded."""
        return self._sock is not None

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._sock is not None and self.outbox.closing != 0

    def receive(self, timeout: float | None = None) -> str | bytes | None:
        """Return the client's next message: text as str, binary as bytes. Return None when there are no more, or when
        this side has closed with a code of `FINAL`. Blocks this greenlet only; control frames are answered meanwhile.

        Args:
            timeout: seconds until a TimeoutError; no message is lost by it.
        """
        if timeout is not None:
            with gevent.Timeout(max(timeout, 0), TimeoutError(f"no message within {timeout:g} s")):
                return self.receive()
        self.accept()
        self.outbox.flush()
        decoder = self.inbox.decoder
        messages = decoder.messages
        while not messages or self.outbox.closing in FINAL:
            # Not earlier: the application's answer to a message must leave before a pong or close for later frames.
            self._answer(decoder.data_to_send())
            if decoder.state is not ProtocolState.OPEN or self.outbox.closing:
                return None
            self.inbox.read()
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
            WebSocketError: the connection is closed; gevent-websocket's class, which legacy code expects.
            TypeError: not a message.
        """
        self.accept()
        if self.outbox.closing:
            raise WebSocketError("Connection is already closed")
        if not isinstance(message, str | bytes | bytearray | memoryview):
            raise TypeError(f"a message is a str or bytes, not {type(message).__name__}; json.dumps() makes it one")
        data = message.encode() if isinstance(message, str) else bytes(message)
        as_text = isinstance(message, str) if binary is None else not binary
        (self.outbox.send_text if as_text else self.outbox.send_binary)(data)

    def close(self, code: int = Close.NORMAL, reason: str | bytes | None = None) -> None:
        """Start the closing handshake. Idempotent. Raises ValueError for a code that may not be sent."""
        self.accept()
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
        disconnect = Disconnect(code, text)
        self.outbox.close(disconnect.code, disconnect.reason)

    def end(self) -> None:
        """Finish the closing handshake: read until the client has ended too, for at most `CLOSE_SECONDS`."""
        if self._sock is None:
            return
        inbox, decoder, messages = self.inbox, self.inbox.decoder, 0
        inbox.reader.end()
        self._answer(decoder.data_to_send())
        self.outbox.close(Close.NORMAL)
        with gevent.Timeout(CLOSE_SECONDS, False):
            while not decoder.eof_sent and messages < MOST_UNREAD:
                inbox.read()
                messages += len(decoder.messages)
                decoder.messages.clear()
                self._answer(decoder.data_to_send())
            if decoder.state is not ProtocolState.CLOSED:
                # Half-close, then read and drop what the client sends until it ends. Closing with unread bytes would
                # reset the connection, and the client could lose the close frame (RFC 6455 section 7.1.1).
                self.outbox.end(self.outbox.closing)
                inbox.discard()
        inbox.on_bytes(b"")
        self.outbox.abort()
        self._sock.close()

    def tick(self, now: float) -> None:
        """Keep the connection alive, or close it. Called about once a second by the worker's keeper greenlet."""
        inbox, outbox, settings = self.inbox, self.outbox, self._settings
        if outbox.size and outbox.sent != self._taken:
            inbox.last_read = now  # the client reads what waits for it; a ping, or its pong, would queue behind that
        self._taken = outbox.sent
        if not (inbox.waits or outbox.closing):
            self._answer(inbox.poll())
        if outbox.closing:
            if now > outbox.deadline:
                outbox.abort()
        elif now - inbox.last_read > settings.ping_timeout and self._is_ping_unanswered(now):
            outbox.close(Close.IDLE, REASONS[Close.IDLE], cut=True)
        elif now - self.pinged > settings.ping_interval:
            self.pinged = now
            outbox.send(PING)
        elif now - inbox.last_read > IDLE_SECONDS:
            inbox.reader.release_greenlet()

    def _is_ping_unanswered(self, now: float) -> bool:
        """Return whether the last ping came after the client's last sign of life, and had time to be answered."""
        patience = min(PONG_SECONDS, self._settings.ping_interval / 2)  # less than the time to the next ping
        return self.inbox.last_read < self.pinged < now - patience

    @property
    def ending(self) -> Ending:
        """How this connection ended."""
        return self.inbox.decoder.ending(self.outbox.closing, self.outbox.reason)

    def _answer(self, chunks: list[bytes]) -> None:
        """Put the protocol's output (pongs, close frames; an empty chunk is the end) into the outbox."""
        outbox = self.outbox
        for chunk in chunks:
            if chunk:
                outbox.put(chunk)
            else:
                outbox.end(sent.code if (sent := self.inbox.decoder.close_sent) is not None else 1006)
        outbox.flush()
