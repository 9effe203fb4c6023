"""Handshakes that are refused, connections that are closed, and requests of clients that cannot be granted."""

from __future__ import annotations

from peatio_ws.close_codes import REASONS, Close, retry_reason
from peatio_ws.errors.base import PeatioWsError, in_utf8


class Refused(PeatioWsError):
    """A handshake that is answered with HTTP.

    Args:
        status: status line without the version, for example `403 Forbidden`.
        text: the body, one line for people.
        headers: more response headers.
        close: the close code for a connection that has been upgraded already (the stock worker sends the 101 first).
    """

    event = "handshake refused"
    level = "info"
    code: int
    close: int

    def __init__(
        self, status: str, text: str, headers: tuple[tuple[str, str], ...] = (), close: Close = Close.POLICY
    ) -> None:
        super().__init__(text)
        self.status, self.text, self.headers, self.close = status, in_utf8(text), headers, close
        self.code = int(status.partition(" ")[0])
        self.label = str(self.code)

    @property
    def reason(self) -> str:
        """The reason of a close frame, with the time of `Retry-After`."""
        later = dict(self.headers).get("Retry-After")
        return retry_reason(self.text.rstrip("."), int(later)) if later else self.text


class Disconnect(PeatioWsError):
    """Closes a connection. Raise it from a handler or pass it to `WebSocket.close`.

    Args:
        code: a close code. One that may not be sent (RFC 6455 section 7.4) is a ValueError.
        reason: for the client, at most 123 bytes of UTF-8; by default the code's own.
    """

    code: int
    close: int

    def __init__(self, code: int = Close.NORMAL, reason: str | None = None) -> None:
        if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
            raise ValueError(f"{code} may not be sent as a close code; use 1000 to 1003, 1007 to 1014 or 3000 to 4999")
        known = code in Close.__members__.values()
        self.text = self.reason = REASONS.get(Close(code), "") if reason is None and known else in_utf8(reason or "")
        super().__init__(code, self.reason)
        self.code = self.close = int(code)
        self.label = str(self.code) if known else "other"


class ClientError(PeatioWsError):
    """A request of a client that cannot be granted. Raise it from a handler.

    From an event handler, the text is the error that the client receives, and the connection stays. From a path
    handler, the connection closes with 1008 and the text.

    Args:
        text: for the client.
    """

    code = "client_error"
    close: int = Close.POLICY

    def __init__(self, text: object = "") -> None:
        super().__init__(text)
        self.text = in_utf8(str(text))
