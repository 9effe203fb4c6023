"""Fields of requests to the simulated exchange: a JSON object or a form, of limited size, within a limited time."""

from __future__ import annotations

import io
from typing import Any

import gevent
import pytest

from peatio_ws.simulator import rest_body
from peatio_ws.simulator.rest_body import MOST_BODY, RequestRefused, read_fields

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def read(body: bytes, kind: str = JSON, length: str | None = None) -> dict[str, Any]:
    return read_fields(
        {
            "CONTENT_TYPE": kind,
            "CONTENT_LENGTH": str(len(body)) if length is None else length,
            "wsgi.input": io.BytesIO(body),
        }
    )


@pytest.mark.parametrize(
    ("body", "kind", "fields"),
    [
        (b'{"side":"buy","price":0.00001,"volume":2}', JSON, {"side": "buy", "price": "0.00001", "volume": 2}),
        (b"{}", "Application/JSON; charset=utf-8", {}),
        (b"", JSON, {}),
        (b"side=buy&volume=0.5&price=", FORM, {"side": "buy", "volume": "0.5", "price": ""}),
        (b"side=buy", "", {"side": "buy"}),
        (b"", "", {}),
    ],
)
def test_fields_of_json_and_of_forms(body: bytes, kind: str, fields: dict[str, Any]) -> None:
    assert read(body, kind) == fields


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", JSON, "400 Bad Request"),
        (b"[1]", JSON, "400 Bad Request"),
        (b"[" * MOST_BODY, JSON, "400 Bad Request"),
        (b"1" * MOST_BODY, JSON, "400 Bad Request"),
        (b"\xff", JSON, "400 Bad Request"),
        (b"\xff", FORM, "400 Bad Request"),
        (b"&" * 1000, FORM, "400 Bad Request"),
        (b"side=buy", "text/plain", "415 Unsupported Media Type"),
        (b"x" * (MOST_BODY + 1), FORM, "413 Content Too Large"),
    ],
)
def test_other_bodies_are_refused(body: bytes, kind: str, status: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        read(body, kind)
    assert (str(refused.value), refused.value.status) == ("server.method.invalid_message_body", status)


def test_a_body_without_a_length_is_limited_too() -> None:
    """With chunks, only reading tells how long it is."""
    with pytest.raises(RequestRefused) as refused:
        read(b"x" * (MOST_BODY + 1), FORM, length="")
    assert refused.value.status == "413 Content Too Large"


@pytest.mark.parametrize("status", ["408 Request Timeout", "400 Bad Request"])
def test_bodies_that_do_not_arrive_are_refused(status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Input:
        def read(self, _: int) -> bytes:
            if status.startswith("400"):
                raise OSError("unexpected end of file")
            gevent.sleep(60)
            return b""

    monkeypatch.setattr(rest_body, "BODY_SECONDS", 0.01)
    with pytest.raises(RequestRefused) as refused:
        read_fields({"CONTENT_TYPE": JSON, "CONTENT_LENGTH": "5", "wsgi.input": Input()})
    assert refused.value.status == status
