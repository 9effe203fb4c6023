"""The reasons of failed connections, in words for the user."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from websockets.exceptions import InvalidMessage, InvalidStatus, InvalidUpgrade, ProxyError

MOST_CHARACTERS: Final = 200
"""Length limit for the text of an HTTP answer."""
SCHEMES: Final = {"ws": 80, "wss": 443}


def place(address: str) -> str:
    """Return host and port of an address, without the rest, which can contain a secret."""
    parts = urlsplit(address)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{host}:{parts.port or SCHEMES[parts.scheme]}"


def http(error: InvalidStatus, headers: Mapping[str, str]) -> str:
    """Return the reason for an HTTP answer in place of an upgrade.

    Args:
        headers: additional headers of the request.
    """
    response = error.response
    reason = f"HTTP {response.status_code}"
    if response.headers.get("Content-Type", "").startswith("text/plain"):
        line, *_ = response.body.decode(errors="replace").strip().splitlines() or [""]
        if line:
            reason += f": {line[:MOST_CHARACTERS]}"
    origin = {name.lower(): value for name, value in headers.items()}.get("origin")
    if response.status_code == 403 and origin is not None:
        reason += f" (Origin: {origin})"
    if 300 <= response.status_code < 400:
        reason += ": a redirect, which the client does not follow; check the address"
    if response.status_code == 404:
        reason += ": no gateway at this path; check the address"
    return reason


def failure(error: Exception, address: str, seconds: float) -> str:
    """Return why a connection could not be opened.

    Args:
        seconds: how long the client waits for it.
    """
    where, secure = place(address), urlsplit(address).scheme == "wss"
    match error:
        case ProxyError():
            return f"the proxy does not connect to {where}: {error}"
        case socket.gaierror():
            return f"DNS: the host of {where} cannot be resolved: {error.strerror}"
        case ssl.SSLCertVerificationError():
            return f"TLS: the certificate of {where} is not valid here: {error.verify_message}; see the option `ssl`"
        case ssl.SSLError():
            return f"TLS: {error.reason or error}; does {where} expect ws:// instead of wss://?"
        case TimeoutError():
            return f"no answer from {where} within {seconds:g} s"
        case OSError() if _is_refused(error):
            return f"{where} refuses connections; is this the port of the gateway, and is it running?"
        case ConnectionError() if secure:
            return f"TLS: {where} ended the handshake; does it expect ws:// instead of wss://?"
        case InvalidMessage() | EOFError() | ConnectionError() if not secure:
            return f"{where} does not answer with HTTP; does it expect wss:// instead of ws://?"
        case InvalidUpgrade() | InvalidMessage() | EOFError():
            return f"{where} is not a WebSocket server: {error}"
    return f"cannot connect to {where}: {error or type(error).__name__}"


def _is_refused(error: OSError) -> bool:
    """Return whether the port is closed. For a host with several addresses, asyncio has a text of all errors only."""
    return error.errno == errno.ECONNREFUSED or (error.errno is None and f"[Errno {errno.ECONNREFUSED}]" in str(error))
