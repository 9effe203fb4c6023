"""Networks of trusted proxies."""

from __future__ import annotations

import ipaddress

import pytest

from peatio_ws.config.trusted_proxies import network


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("192.0.2.7", "192.0.2.7/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ("::/0", "::/0"),
        ("fd00::/8", "fd00::/8"),
    ],
)
def test_networks_of_proxies(text: str, found: str) -> None:
    assert network(text) == ipaddress.ip_network(found)
