"""Which browsers may come, and whose address counts."""

from __future__ import annotations

import pytest

from peatio_ws.errors import Refused
from peatio_ws.origin import check_origin, client_address
from tests.unit.samples import settings


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        (None, "exchange.example", ""),  # no browser
        ("https://exchange.example", "exchange.example", ""),
        ("https://exchange.example", "EXCHANGE.example:443", ""),
        ("http://exchange.example", "exchange.example:80", ""),
        ("http://exchange.example:8080", "exchange.example:8080", ""),
        ("https://app.example", "exchange.example", "https://app.example"),
        ("https://app.example", "exchange.example", "other.example, app.example"),
        ("https://APP.example", "exchange.example", "https://app.example/"),
        ("https://app.example:8443", "exchange.example", "app.example:8443"),
        ("null", "exchange.example", "*"),
    ],
)
def test_these_may_come(origin: str | None, host: str, allowed: str) -> None:
    environ = {"HTTP_HOST": host} | ({"HTTP_ORIGIN": origin} if origin is not None else {})
    check_origin(environ, settings(API_CORS_ORIGINS=allowed))


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        ("https://evil.example", "exchange.example", ""),
        ("https://exchange.example.evil.example", "exchange.example", ""),
        ("https://exchange.example:8443", "exchange.example", ""),
        ("http://exchange.example:443", "exchange.example", ""),
        ("null", "exchange.example", ""),
        ("", "exchange.example", ""),
        ("null", "", ""),
        ("https://exchange.example", "exchange.example", "https://app.example"),
        ("http://app.example", "exchange.example", "https://app.example"),
        ("https://app.example:8443", "exchange.example", "app.example"),
        ("https://sub.app.example", "exchange.example", "app.example"),
    ],
)
def test_these_are_refused(origin: str, host: str, allowed: str) -> None:
    with pytest.raises(Refused) as refused:
        check_origin({"HTTP_HOST": host, "HTTP_ORIGIN": origin}, settings(API_CORS_ORIGINS=allowed))
    assert refused.value.status.startswith("403 ")


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "address"),
    [
        ("203.0.113.9", "", "", "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", "", "203.0.113.9"),  # anybody can write that header
        ("203.0.113.9", "198.51.100.1", "10.0.0.0/8", "203.0.113.9"),
        ("10.0.0.2", "198.51.100.1", "10.0.0.0/8", "198.51.100.1"),
        ("10.0.0.2", "198.51.100.1, 10.0.0.3", "10.0.0.0/8", "198.51.100.1"),
        ("10.0.0.2", "6.6.6.6, 198.51.100.1", "10.0.0.0/8", "198.51.100.1"),  # the first is the client's own claim
        ("10.0.0.2", "", "10.0.0.0/8", "10.0.0.2"),
        ("10.0.0.2", "nonsense", "10.0.0.0/8", "nonsense"),
        ("", "198.51.100.1", "10.0.0.0/8", "198.51.100.1"),  # a Unix socket
        ("::1", "2001:db8::7", "::1", "2001:db8::7"),
    ],
)
def test_the_address_is_the_last_that_is_no_trusted_proxys(
    peer: str, forwarded: str, trusted: str, address: str
) -> None:
    environ = {"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": forwarded}
    assert client_address(environ, settings(TRUSTED_PROXIES=trusted)) == address
