"""Upgrade requests: which origins may connect, which address counts, and what the client requests."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from peatio_ws.errors import ConfigurationError, Refused
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.server.connections.upgrade_request import (
    SUBPROTOCOL,
    UpgradeRequest,
    agree_on_subprotocol,
    check_origin,
    parse_upgrade_request,
)
from peatio_ws.transport.http.client_address import client_address
from tests.unit.samples import settings


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        (None, "exchange.example", ""),  # not a browser
        ("https://exchange.example", "exchange.example", ""),
        ("https://exchange.example", "EXCHANGE.example:443", ""),
        ("http://exchange.example", "exchange.example:80", ""),
        ("http://exchange.example:8080", "exchange.example:8080", ""),
        ("https://app.example", "exchange.example", "https://app.example"),
        ("https://app.example", "exchange.example", "other.example, app.example"),
        ("https://APP.example", "exchange.example", "https://app.example/"),
        ("https://app.example:8443", "exchange.example", "app.example:8443"),
        ("null", "exchange.example", "*"),
        (
            "https://exchange.example",
            "exchange.example",
            "https://app.example",
        ),  # the gateway's own host is always allowed
        ("https://a.app.example", "exchange.example", "https://*.app.example"),
        ("https://a.b.app.example", "exchange.example", "x.example,*.app.example"),
        ("https://a.app.example:8443", "exchange.example", "https://*.app.example:8443"),
        ("https://app.example", "exchange.example", "http://app.example"),  # as with Rango
        ("https://app.example", "exchange.example", "https://app.example/trade/btcusd"),
        ("https://[2001:db8::1]:8443", "exchange.example", "[2001:db8::1]:8443"),
        ("null", "exchange.example", "null"),
    ],
)
def test_pages_of_these_origins_may_connect(origin: str | None, host: str, allowed: str) -> None:
    environ = {"HTTP_HOST": host} | ({"HTTP_ORIGIN": origin} if origin is not None else {})
    check_origin(environ, settings(API_CORS_ORIGINS=allowed))


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        ("https://evil.example", "exchange.example", ""),
        ("http://[", "exchange.example", ""),
        ("https://exchange.example.evil.example", "exchange.example", ""),
        ("https://exchange.example:8443", "exchange.example", ""),
        ("http://exchange.example:443", "exchange.example", ""),
        ("null", "exchange.example", ""),
        ("", "exchange.example", ""),
        ("null", "", ""),
        ("https://app.example", "exchange.example", "https://*.app.example"),
        ("https://evilapp.example", "exchange.example", "https://*.app.example"),
        ("https://a.app.example.evil.example", "exchange.example", "https://*.app.example"),
        ("http://a.app.example", "exchange.example", "https://*.app.example"),
        ("https://a.app.example:8443", "exchange.example", "https://*.app.example"),
        ("https://evil.example/.app.example", "exchange.example", "https://*.app.example"),
        ("https://evil.example?.app.example", "exchange.example", "https://*.app.example"),
        ("https://evil.example@.app.example", "exchange.example", "*.app.example"),
        ("https://.app.example", "exchange.example", "*.app.example"),
        ("https://user@exchange.example", "exchange.example", ""),
        ("https://evil.example", "*.example", ""),
        ("http://app.example", "exchange.example", "https://app.example"),
        ("https://app.example:8443", "exchange.example", "app.example"),
        ("https://sub.app.example", "exchange.example", "app.example"),
    ],
)
def test_pages_of_other_origins_are_refused(origin: str, host: str, allowed: str) -> None:
    with pytest.raises(Refused) as refused:
        check_origin({"HTTP_HOST": host, "HTTP_ORIGIN": origin}, settings(API_CORS_ORIGINS=allowed))
    assert refused.value.status.startswith("403 ")


def test_wildcard_origin_with_cookies_means_own_host_only() -> None:
    anywhere = settings(API_CORS_ORIGINS="*,https://app.example")
    for origin in ("https://exchange.example", "https://app.example", None):
        environ = {"HTTP_HOST": "exchange.example"} | ({} if origin is None else {"HTTP_ORIGIN": origin})
        check_origin(environ, anywhere, by_cookie=True)
    evil = {"HTTP_HOST": "exchange.example", "HTTP_ORIGIN": "https://evil.example"}
    check_origin(evil, anywhere)
    for given in (anywhere, settings()):
        with pytest.raises(Refused):
            check_origin(evil, given, by_cookie=True)


def test_the_address_of_a_request_depends_on_the_settings() -> None:
    environ = {"REMOTE_ADDR": "10.0.0.2", "HTTP_X_FORWARDED_FOR": "198.51.100.1", "HTTP_FORWARDED": "for=192.0.2.1"}
    assert client_address(environ, settings()) == "10.0.0.2"
    assert client_address(environ, settings(TRUSTED_PROXIES="10.0.0.0/8")) == "198.51.100.1"
    named = settings(TRUSTED_PROXIES="::ffff:10.0.0.0/104", TRUSTED_PROXIES_HEADER="Forwarded")
    assert client_address(environ, named) == "192.0.2.1"
    assert client_address({}, settings()) == ""


# ---- protocol, streams and token


def ask(path: str, query: str = "", **headers: str) -> UpgradeRequest:
    return parse_upgrade_request({"PATH_INFO": path, "QUERY_STRING": query, **headers})


@pytest.mark.parametrize("path", ["/", "", "/api/v2/ws", "/publicity", "/public/x", "/private/x", "/xranger"])
def test_other_paths_are_classic(path: str) -> None:
    assert ask(path, "token=1") == UpgradeRequest(Dialect.CLASSIC, (), None)


@pytest.mark.parametrize(
    "path", ["/public", "/public/", "/api/v2/ranger/public/", "/ranger", "/ranger/x", "/a//public//"]
)
def test_these_paths_are_ranger(path: str) -> None:
    assert ask(path) == UpgradeRequest(Dialect.RANGER, (), None)


@pytest.mark.parametrize(
    ("mount", "path"),
    [("/ranger", ""), ("/ranger", "/x"), ("/a/ranger", "/"), ("/public", ""), ("/public", "/"), ("/ws", "/public")],
)
def test_the_mount_prefix_is_part_of_the_path(mount: str, path: str) -> None:
    assert ask(path, SCRIPT_NAME=mount) == UpgradeRequest(Dialect.RANGER, (), None)
    assert ask(path, SCRIPT_NAME="/ws").dialect is (Dialect.RANGER if path == "/public" else Dialect.CLASSIC)
    with pytest.raises(Refused):
        ask("", SCRIPT_NAME="/private")


@pytest.mark.parametrize(
    ("query", "streams"),
    [
        ("stream=a.b", ("a.b",)),
        ("stream=a.b&stream=c.d", ("a.b", "c.d")),
        ("stream=a.b,c.d&x=1&stream=a.b", ("a.b", "c.d")),
        ("stream=a%2Eb%2Cc.d", ("a.b", "c.d")),
        ("stream=", ()),
        ("stream", ()),
        ("stream=,%20,", ()),
    ],
)
def test_streams_in_the_query_make_a_ranger_connection(query: str, streams: tuple[str, ...]) -> None:
    assert ask("/", query) == UpgradeRequest(Dialect.RANGER, streams, None)


def test_a_token_in_the_header_makes_a_ranger_connection() -> None:
    assert ask("/", HTTP_AUTHORIZATION="Bearer a.b.c") == UpgradeRequest(Dialect.RANGER, (), "a.b.c")
    assert ask("/private/", HTTP_AUTHORIZATION="bearer  a.b.c ").token == "a.b.c"
    # Without the scheme the token is invalid, not missing.
    assert ask("/public", HTTP_AUTHORIZATION="a.b.c").token == "a.b.c"
    assert ask("/public", HTTP_AUTHORIZATION="Bearer").token == ""


def test_basic_authorization_is_not_a_token() -> None:
    assert ask("/public", HTTP_AUTHORIZATION="Basic YTpi").token is None


@pytest.mark.parametrize("header", [{}, {"HTTP_AUTHORIZATION": ""}, {"HTTP_AUTHORIZATION": "Basic YTpi"}])
@pytest.mark.parametrize("path", ["/private", "/private/", "/api/v2/ranger/private"])
def test_a_private_path_needs_a_token(path: str, header: dict[str, str]) -> None:
    with pytest.raises(Refused) as refused:
        ask(path, **header)
    assert refused.value.status.startswith("401 ")
    assert ("WWW-Authenticate", "Bearer") in refused.value.headers


def test_a_query_with_too_many_fields_is_refused() -> None:
    with pytest.raises(Refused) as refused:
        ask("/", "&".join(["a=1"] * 1001))
    assert refused.value.status.startswith("400 ")


@pytest.mark.parametrize(
    ("query", "after"),
    [
        ("", None),
        ("&marks=0", None),
        ("&after=", None),
        ("&marks=1", {}),
        ("&marks=true", {}),
        ("&after=a.trades:m1&after=b:c.trades:m2", {"a.trades": "m1", "b:c.trades": "m2"}),
        ("&after=a.trades:m1,b.trades:", {"a.trades": "m1", "b.trades": None}),
        ("&after=nonsense", {}),
    ],
)
def test_marks_in_the_query(query: str, after: dict[str, str | None] | None) -> None:
    assert ask("/", f"stream=a.trades{query}").after == after


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [
        (None, None),
        ("", None),
        ("v1", "v1"),
        ("v2, v1", "v2"),
        ("v1,v2", "v1"),
        (" v3 ,\tv1 ", "v1"),
        ("v3", None),
        ("V1", None),
        ("v1v2", None),
        ("v1;q=1", None),
    ],
)
def test_first_offered_subprotocol_that_is_spoken_is_agreed_on(offered: str | None, agreed: str | None) -> None:
    environ: dict[str, Any] = {} if offered is None else {"HTTP_SEC_WEBSOCKET_PROTOCOL": offered}
    ws: Any = SimpleNamespace(accepted_elsewhere=False)
    assert agree_on_subprotocol(environ, ws, ("v1", "v2")) == agreed
    assert environ[SUBPROTOCOL] == agreed
    assert agree_on_subprotocol(environ, ws, ()) is None
    ws.accepted_elsewhere = True  # its answer has been sent
    assert agree_on_subprotocol(environ, ws, ("v1", "v2")) is None


RANGO_SETTINGS = [
    "example.org,example.com",
    "example.org, example.com",
    "https://example.org,https://example.com",
    "https://example.org, https://example.com",
    "http://example.org,http://example.com",
]
"""Values of `API_CORS_ORIGINS` for the same two sites."""


@pytest.mark.parametrize("allowed", RANGO_SETTINGS)
@pytest.mark.parametrize(
    ("origin", "passes"),
    [
        ("https://example.org", True),
        ("https://Example.org", True),
        ("https://example.com", True),
        ("https://Example.com", True),
        (None, True),
        ("https://other.org", False),
        ("https://www.example.org", False),
        ("https://example.org.other.org", False),
    ],
)
def test_origins_are_accepted_as_in_rango(origin: str | None, passes: bool, allowed: str) -> None:
    """Rango compares hosts and ignores schemes, of the page as of the entry."""
    assert _passes(origin, "whatever.org", allowed) is passes


@pytest.mark.parametrize(
    ("origin", "host", "passes"),
    [
        ("https://example.org", "example.org", True),
        ("https://example.org", "Example.org", True),
        ("https://other.org", "example.org", False),
        (None, "example.org", True),
    ],
)
def test_without_origins_the_own_host_is_accepted_as_in_rango(origin: str | None, host: str, passes: bool) -> None:
    assert _passes(origin, host, "") is passes


@pytest.mark.parametrize("allowed", ["https://example.org", "https://example.org,http://example.com"])
def test_entry_with_https_does_not_accept_the_http_page(allowed: str) -> None:
    """Rango does; see docs/migrating.md."""
    assert not _passes("http://example.org", "whatever.org", allowed)


@pytest.mark.parametrize("entry", ["https://ex ample.org", "https://ex:ample.org", "https://", "a b"])
def test_entry_that_is_not_an_origin_is_a_fault_as_in_rango(entry: str) -> None:
    with pytest.raises(ConfigurationError, match="which is not an origin or a host"):
        settings(API_CORS_ORIGINS=f"https://example.com,{entry}")


def _passes(origin: str | None, host: str, allowed: str) -> bool:
    environ = {"HTTP_HOST": host} | ({} if origin is None else {"HTTP_ORIGIN": origin})
    try:
        check_origin(environ, settings(API_CORS_ORIGINS=allowed))
    except Refused:
        return False
    return True
