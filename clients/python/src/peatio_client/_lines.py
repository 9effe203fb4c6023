"""How both clients use `websockets`: the options of a connection, and what errors mean."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any, Final, Literal

from websockets.exceptions import ConnectionClosed, InvalidStatus

from peatio_client import _reasons
from peatio_client._endings import FIRST_PAUSE, LOST, Ended, closed_with, refused_with

OPEN_SECONDS: Final = 10.0
HEADERS_SECONDS: Final = 30.0
"""How long the asyncio client waits for headers before it connects. Then it reports an error and tries again later."""
CLOSE_SECONDS: Final = 2.0
LONGEST_SILENCE: Final = 86400.0  # threads cannot wait without a limit
MOST_BYTES: Final = 16 * 2**20
"""Largest frame; a book can be long."""
MOST_FRAMES: Final = 16
"""Frames that wait for the consumer before the client stops reading."""
MOST_BACKLOG: Final = 1000
"""Frames that may arrive before the answer to a request."""
BACKLOG_FULL: Final = f"{MOST_BACKLOG} frames came before the answer; ask between events, not in a callback"
"""The error of a request that has no answer because too many frames came first."""

_log = logging.getLogger("peatio_client.line")
_log.setLevel(logging.CRITICAL)  # the library logs errors, and at DEBUG tokens and payloads


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a client's connections.

    Attributes:
        silence: seconds without a sign of life after which a connection is dead.
        headers: additional headers of the handshake, or a function that returns them for each one.
        ssl: TLS context for `wss://`; None for the default one.
        proxy: address of a proxy; True for the one from the environment, None for none.
        longest_pause: seconds between two attempts to connect, without the delay that the gateway asked for.

    Raises:
        ValueError: the client itself sends one of the headers, or the silence or the pause is too short.
    """

    silence: float
    headers: Mapping[str, str] | Callable[[], Any]
    ssl: SSLContext | None
    proxy: str | Literal[True] | None
    longest_pause: float

    def __post_init__(self) -> None:
        if not self.silence > 0:
            raise ValueError(f"silence has to be more than 0 s, not {self.silence!r}")
        if not self.longest_pause >= FIRST_PAUSE:
            raise ValueError(f"longest_pause has to be {FIRST_PAUSE:g} s or more, not {self.longest_pause!r}")
        if not callable(self.headers):
            checked(self.headers)

    def given(self) -> Any:
        """Return the additional headers of the next handshake, not checked yet; a coroutine function's coroutine."""
        return self.headers() if callable(self.headers) else self.headers

    def of_library(self, headers: Mapping[str, str]) -> dict[str, Any]:
        """Return the arguments of a connection for `websockets`."""
        silence = min(self.silence, LONGEST_SILENCE)
        options: dict[str, Any] = {
            "additional_headers": headers,
            "proxy": self.proxy,
            "open_timeout": OPEN_SECONDS,
            "close_timeout": min(CLOSE_SECONDS, silence / 12),
            "ping_interval": silence / 3,
            "ping_timeout": silence / 2,
            "max_size": MOST_BYTES,
            "max_queue": MOST_FRAMES,
            "logger": _log,
        }
        return options if self.ssl is None else {**options, "ssl": self.ssl}

    def not_opened(self, error: Exception, address: str, headers: Mapping[str, str]) -> Ended:
        """Return why a connection with these headers could not be opened."""
        if isinstance(error, InvalidStatus):
            response = error.response
            later = response.headers.get("Retry-After", "")
            return refused_with(response.status_code, _reasons.http(error, headers), later)
        if isinstance(error, ConnectionClosed):
            return ended(error)
        return Ended(LOST, _reasons.failure(error, address, OPEN_SECONDS))


def checked(headers: object) -> dict[str, str]:
    """Return additional headers of the handshake.

    Raises:
        TypeError: they are not headers.
        ValueError: the client itself sends one of them.
    """
    if not isinstance(headers, Mapping):
        raise TypeError(f"headers have to be a mapping of names to strings, not {type(headers).__name__}")
    if any(name.lower() == "authorization" for name in headers):
        raise ValueError("pass the token with the option `token`, not in the header Authorization")
    return dict(headers)


def unredirected(refusal: InvalidStatus) -> InvalidStatus:
    """Return the answer to a handshake as one that `websockets` does not follow.

    It would send the token to another path, leave it out for another host, and raise for an address with `https://`.
    """
    if "Location" in refusal.response.headers:
        del refusal.response.headers["Location"]
    return refusal


def ended(error: ConnectionClosed) -> Ended:
    """Return how a connection ended, from an error in reading or writing."""
    if error.rcvd is not None:
        return closed_with(error.rcvd.code, error.rcvd.reason)
    why = error.sent.reason if error.sent is not None else ""
    return Ended(LOST, f"connection lost: {why}" if why else "connection lost")
