"""The close codes that the gateway sends, and their reasons (contract section 6).

docs/architecture.md says what else a new code needs.
"""

from __future__ import annotations

import enum
from typing import Final


class Close(enum.IntEnum):
    """Close codes that this gateway sends (RFC 6455 section 7.4.1; 4000-4999 are private; contract section 6)."""

    NORMAL = 1000
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    INVALID_TEXT = 1007
    POLICY = 1008
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    RESTART = 1012
    FULL = 1013
    TOKEN_EXPIRED = 4401
    REVOKED = 4403
    IDLE = 4408
    TOO_SLOW = 4413


REASONS: Final = {
    Close.NORMAL: "",
    Close.PROTOCOL_ERROR: "protocol error",
    Close.UNSUPPORTED_DATA: "binary messages are not understood here",
    Close.INVALID_TEXT: "text is not UTF-8",
    Close.POLICY: "policy violation",
    Close.TOO_BIG: "message too big",
    Close.INTERNAL_ERROR: "internal error",
    Close.RESTART: "restart; retry after 1",
    Close.FULL: "full; try again later",
    Close.TOKEN_EXPIRED: "token expired",
    Close.REVOKED: "disconnected by the operator",
    Close.IDLE: "no sign of life",
    Close.TOO_SLOW: "too slow",
}
"""The default reason of each code, at most 123 bytes (RFC 6455 section 5.5)."""


def retry_reason(text: str, seconds: int) -> str:
    """Return the reason of a close frame that asks the client to come back after some seconds."""
    return f"{text}; retry after {seconds}"


FINAL: Final = frozenset({Close.REVOKED, Close.TOKEN_EXPIRED, Close.POLICY})
"""After one of these codes, messages of the client are ignored. After any other code they are processed: the client
sent them before it received the close frame."""
