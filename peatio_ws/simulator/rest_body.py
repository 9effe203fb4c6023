"""Reads the fields of a request to the simulated exchange's REST API, and refuses requests as Peatio does.

The size of a body and the time in which it has to arrive are limited: every client can reach this port.
"""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import parse_qsl

import gevent

MOST_BODY: Final = 16_384
"""Bytes of a body."""
BODY_SECONDS: Final = 5.0
"""The time limit for a body to arrive."""
MOST_FIELDS: Final = 100

_UNREADABLE: Final = "server.method.invalid_message_body"


class RequestRefused(Exception):
    """A request that Peatio refuses.

    Args:
        code: Peatio's name for the fault.

    Attributes:
        status: of HTTP, with its phrase.
    """

    def __init__(self, code: str, status: str = "422 Unprocessable Entity") -> None:
        super().__init__(code)
        self.status = status


def read_fields(environ: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a body: a JSON object, or a form.

    Args:
        environ: of WSGI; without a content type, the body is a form.

    Raises:
        RequestRefused: the body is too large, late, incomplete, or neither JSON nor a form.
    """
    kind = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    if kind not in ("application/json", "application/x-www-form-urlencoded", ""):
        raise RequestRefused(_UNREADABLE, "415 Unsupported Media Type")
    body = _read(environ)
    try:
        if kind != "application/json":
            return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS))
        fields = json.loads(body or b"{}", parse_float=str)  # 0.00001 keeps its digits
    except (ValueError, RecursionError):
        raise RequestRefused(_UNREADABLE, "400 Bad Request") from None
    if not isinstance(fields, dict):
        raise RequestRefused(_UNREADABLE, "400 Bad Request")
    return fields


def _read(environ: dict[str, Any]) -> bytes:
    late = RequestRefused(_UNREADABLE, "408 Request Timeout")
    length = environ.get("CONTENT_LENGTH") or "0"
    if int(length) > MOST_BODY:
        raise RequestRefused(_UNREADABLE, "413 Content Too Large")
    try:
        with gevent.Timeout(BODY_SECONDS, late):
            body: bytes = environ["wsgi.input"].read(MOST_BODY + 1)
    except OSError:
        raise RequestRefused(_UNREADABLE, "400 Bad Request") from None
    if len(body) > MOST_BODY:
        raise RequestRefused(_UNREADABLE, "413 Content Too Large")
    return body
