"""An answer of the operator's port."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

JSON = "application/json"


class Response(NamedTuple):
    """An HTTP response.

    Attributes:
        status: with its reason, for example `404 Not Found`.
        headers: in addition to type and length.
    """

    status: str
    body: bytes
    kind: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


def json_response(status: str, content: object, *headers: tuple[str, str]) -> Response:
    """Return a response with this content."""
    return Response(status, msgspec.json.encode(content), JSON, headers)


def error(status: str, text: str, *headers: tuple[str, str]) -> Response:
    """Return a response that says what is wrong."""
    return json_response(status, {"error": text}, *headers)
