"""Origins of pages: which entries are valid, and how a refused origin is logged."""

from __future__ import annotations

import pytest

from peatio_ws.config.allowed_origins import fault_of, is_allowed, shown


@pytest.mark.parametrize(
    "entry",
    [
        "*",
        "null",
        "app.example",
        "app.example:8443",
        "https://app.example/",
        "*.app.example",
        "https://*.app.example",
        "https://*.app.example:8443/trade",
        "capacitor://localhost",
    ],
)
def test_entry_that_may_be_listed(entry: str) -> None:
    assert fault_of(entry) is None


@pytest.mark.parametrize(
    "entry",
    [
        "**",
        "https://*",
        "*://app.example",
        "https://*app.example",
        "https://app-*.example",
        "https://app.*",
        "*.*.example",
        "*.",
        "*.app.example:*",
        "https://user@*.app.example",
    ],
)
def test_entry_that_would_match_nothing_is_a_fault(entry: str) -> None:
    assert "https://*.example.com" in (fault_of(entry) or "")
    assert not is_allowed("https://app.example", "exchange.example", ["https://other.example"])


def test_wildcard_entry_does_not_allow_cookies_from_any_origin() -> None:
    listed = ["*", "https://*.app.example"]
    assert is_allowed("https://a.app.example", "exchange.example", listed, any_counts=False)
    assert not is_allowed("https://evil.example", "exchange.example", listed, any_counts=False)


@pytest.mark.parametrize(
    ("origin", "text"),
    [
        ("https://Evil.example", "https://evil.example"),
        ("https://evil.example:443", "https://evil.example"),
        ("https://evil.example:8443/path?jwt=a.b.c", "https://evil.example:8443"),
        ("http://[2001:db8::1]:80", "http://[2001:db8::1]"),
        ("null", "null"),
        ("", "not an origin"),
        ("a.b.c", "not an origin"),
        ("https://user:password@evil.example", "not an origin"),
        ("https://evil.example\x1b[31m", "not an origin"),
        ("https://\x85evil.example", "not an origin"),
        ("https://" + "a" * 64, "not an origin"),  # as long as a segment of a token
        ("https://" + "a." * 127 + "example", "not an origin"),
        ("http://[", "not an origin"),
        ("https://evil.example:port", "not an origin"),
    ],
)
def test_logged_origin_is_short_and_contains_no_token(origin: str, text: str) -> None:
    assert shown(origin) == text
