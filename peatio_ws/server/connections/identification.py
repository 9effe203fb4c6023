"""Whose connection it is: by a token, or by the function that the application registered for the path.

Knows the answers to a request; does not know how a token is verified (`context.py`).
"""

from __future__ import annotations

from typing import Any

import structlog

from peatio_ws.auth.identity import MOST_UID_BYTES, Identity, is_uid
from peatio_ws.close_codes import Close
from peatio_ws.errors import Refused, TryLater
from peatio_ws.monitoring import metrics
from peatio_ws.server.connections.event_session import HANDLER_FAILURES
from peatio_ws.server.context import Authenticator
from peatio_ws.server.routes import Route

log = structlog.get_logger("peatio_ws.server.connections.identification")


def verify_token(authenticator: Authenticator, token: str, connection: str, address: str) -> Identity | None:
    """Return the identity of a token; None if it is refused.

    Args:
        connection: its id, for the log.
        address: of the client, on which a failure counts.

    Raises:
        Refused: 429 after too many failures; 503 if its key is not known yet.
    """
    try:
        authenticator.check_address(address)
        return authenticator.verify(token, connection, address)
    except TryLater as later:
        raise later.refusal() from None


def identify_request(route: Route, environ: dict[str, Any]) -> Identity | None:
    """Return the identity that the path's `identify` gives a request; None without one. A uid as text has no role.

    Raises:
        Refused: by `identify`; with status 500 if `identify` fails.
    """
    if route.identify is None:
        return None
    try:
        found = route.identify(environ)
        if found is None:
            return None
        identity = found if isinstance(found, Identity) else Identity(found)
        if is_uid(identity.uid) and isinstance(identity.role, str):
            return identity
        raise TypeError(
            "identify must return a uid, an Identity of a uid and a role, or None; uid and role as str, the uid not "
            f"blank and with at most {MOST_UID_BYTES} bytes of UTF-8"
        )
    except Refused:
        raise
    except HANDLER_FAILURES:
        metrics.handler_failures.labels(route.path).inc()
        log.exception("identify failed", handler=route.path)
        text = "Authentication failed because of a server error."
        raise Refused("500 Internal Server Error", text, close=Close.INTERNAL_ERROR) from None
