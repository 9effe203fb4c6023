"""An answer of the operator's port."""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple

import msgspec

JSON = "application/json"


class Response(NamedTuple):
    """An HTTP response.

    Attributes:
        status: with its reason, for example `404 Not Found`.
        headers: in addition to type and length.
        parts: the body of an answer without a length, as it comes; instead of `body`. It is closed in the end.
    """

    status: str
    body: bytes = b""
    kind: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    parts: Generator[bytes, None, None] | None = None


def json_response(status: str, content: object, *headers: tuple[str, str]) -> Response:
    """Return a response with this content."""
    return Response(status, msgspec.json.encode(content), JSON, headers)


def error(status: str, text: str, *headers: tuple[str, str]) -> Response:
    """Return a response that says what is wrong."""
    return json_response(status, {"error": text}, *headers)
