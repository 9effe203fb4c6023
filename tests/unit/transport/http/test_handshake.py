"""The rules of the opening handshake, and its refusals in plain HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from peatio_ws.errors import Refused
from peatio_ws.transport.http.handshake import check_handshake, respond, wants_upgrade

GOOD = {
    "REQUEST_METHOD": "GET",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "HTTP_HOST": "exchange.example",
    "HTTP_UPGRADE": "websocket",
    "HTTP_CONNECTION": "Upgrade",
    "HTTP_SEC_WEBSOCKET_VERSION": "13",
    "HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ==",
}


def test_valid_handshake_is_accepted() -> None:
    check_handshake(dict(GOOD))


@pytest.mark.parametrize(
    "more",
    [
        {"HTTP_CONNECTION": "keep-alive, upgrade"},
        {"HTTP_CONNECTION": "keep-alive,UPGRADE ,x"},
        {"HTTP_SEC_WEBSOCKET_VERSION": " 13 "},
        {"HTTP_SEC_WEBSOCKET_KEY": " dGhlIHNhbXBsZSBub25jZQ== "},
        {"HTTP_ORIGIN": "https://other.example"},
        {"HTTP_SEC_WEBSOCKET_PROTOCOL": "chat"},
    ],
)
def test_a_handshake_may_be_written_in_other_ways(more: dict[str, str]) -> None:
    check_handshake(GOOD | more)


@pytest.mark.parametrize(
    ("name", "values", "status"),
    [
        ("REQUEST_METHOD", ["POST", "HEAD", "get"], 405),
        ("SERVER_PROTOCOL", ["HTTP/1.0", "HTTP/0.9", None], 426),
        ("HTTP_CONNECTION", ["", "close", "keep-alive", "upgraded", None], 400),
        ("HTTP_HOST", ["", None], 400),
        ("HTTP_SEC_WEBSOCKET_VERSION", ["", "8", "12", "14", "13, 8", None], 426),
        (
            "HTTP_SEC_WEBSOCKET_KEY",
            ["", "x", "AAAA", "dGhlIHNhbXBsZSBub25jZXM=", "dGhlIHNhbXBsZSBub25jZQ", "é", None],
            400,
        ),
    ],
)
def test_any_other_handshake_is_refused(name: str, values: list[str | None], status: int) -> None:
    for value in values:
        environ = {key: text for key, text in (GOOD | {name: value}).items() if text is not None}
        with pytest.raises(Refused) as refused:
            check_handshake(environ)
        assert refused.value.status.startswith(f"{status} ")


def test_refusal_of_a_version_names_the_supported_one() -> None:
    with pytest.raises(Refused) as refused:
        check_handshake(GOOD | {"HTTP_SEC_WEBSOCKET_VERSION": "8"})
    assert ("Sec-WebSocket-Version", "13") in refused.value.headers


@pytest.mark.parametrize(
    ("upgrade", "wanted"),
    [("websocket", True), ("WebSocket", True), ("h2c, websocket", True), ("h2c", False), ("", False), (None, False)],
)
def test_websocket_upgrade_is_distinguished_from_other_requests(upgrade: str | None, wanted: bool) -> None:
    assert wants_upgrade({} if upgrade is None else {"HTTP_UPGRADE": upgrade}) is wanted


def test_refusal_is_a_plain_http_response() -> None:
    started: list[Any] = []
    refused = Refused("429 Too Many Requests", "Zu viele für hier.", (("Retry-After", "5"),))
    body = b"".join(respond(refused, lambda *given_ones: started.append(given_ones)))
    ((status, headers),) = started
    assert (status, body) == ("429 Too Many Requests", "Zu viele für hier.\n".encode())
    assert dict(headers)["Content-Length"] == str(len(body))
    assert dict(headers)["Retry-After"] == "5"
    assert dict(headers)["Connection"] == "close"
