"""The client's address of a request: one table of everything that proxies write."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.config.trusted_proxies import Header, network
from peatio_ws.transport.http.client_address import HOP_CHARACTERS, MOST_HOPS, is_trusted_peer, rate_limit_key, resolve

TRUSTED = [network(text) for text in ("10.0.0.0/8", "127.0.0.1", "fd00::/8")]
PROXY = "10.0.0.2"
CLIENT, CLIENT_6 = "203.0.113.7", "2001:db8::1"
HIDDEN = f"unknown via {PROXY}"

PEERS = {
    CLIENT: CLIENT,
    f" {CLIENT} ": CLIENT,
    f"::ffff:{CLIENT}": CLIENT,  # as reported by a socket on `::`
    "::FFFF:cb00:7107": CLIENT,
    f"{CLIENT}:50000": CLIENT,  # as set by middleware
    f"[{CLIENT_6}]:50000": CLIENT_6,
    "2001:DB8:0:0:0:0:0:1": CLIENT_6,
    "fe80::1%eth0": "fe80::1",
    f"::ffff:{CLIENT}%eth0": CLIENT,
    "": "",  # a Unix socket
    "unix:": "",
    "nonsense": "unknown",
    "203.0.113.07": "unknown",
    "٢٠٣.0.113.7": "unknown",
}
"""Addresses of connections without headers."""

FORWARDED_FOR = {
    CLIENT: CLIENT,
    f"{CLIENT}:50000": CLIENT,  # Azure
    CLIENT_6: CLIENT_6,
    f"[{CLIENT_6}]": CLIENT_6,
    f"[{CLIENT_6}]:50000": CLIENT_6,
    f'"[{CLIENT_6}]:50000"': CLIENT_6,
    f"::ffff:{CLIENT}": CLIENT,
    f"[::ffff:{CLIENT}]:50000": CLIENT,
    "fe80::1%eth0": "fe80::1",
    "[fe80::1%25eth0]:50000": "fe80::1",
    f"  {CLIENT}\t": CLIENT,
    f"6.6.6.6,{CLIENT}": CLIENT,  # the first address is the client's own claim
    f"6.6.6.6, {CLIENT}, 10.0.0.3": CLIENT,
    f"6.6.6.6, {CLIENT}:50000, 10.0.0.3:50001, [fd00::3]:50002": CLIENT,
    f"6.6.6.6, {CLIENT}, ::ffff:10.0.0.3": CLIENT,
    f"6.6.6.6, {CLIENT}, unix:": CLIENT,  # nginx behind a Unix socket
    f"{HIDDEN}, {CLIENT}": CLIENT,
    f",,{CLIENT}": CLIENT,
    "10.0.0.3, 10.0.0.4": "10.0.0.3",  # a client inside
    "": PROXY,
    "  ": PROXY,
    # The search ends at an unreadable address.
    "6.6.6.6, nonsense": HIDDEN,
    "6.6.6.6, unknown": HIDDEN,
    "6.6.6.6, _hidden": HIDDEN,
    "6.6.6.6, ": HIDDEN,
    "6.6.6.6, , 10.0.0.3": "unknown via 10.0.0.3",
    '6.6.6.6, ""': HIDDEN,
    "6.6.6.6, 203.0.113.256": HIDDEN,
    "6.6.6.6, 203.0.113.7:port": HIDDEN,
    "6.6.6.6, [2001:db8::1": HIDDEN,
    "6.6.6.6, 2001:db8:0:0:0:0:0:1:50000": HIDDEN,  # ambiguous: unknown where the port begins
    "6.6.6.6, " + "1" * (HOP_CHARACTERS + 1): HIDDEN,
    ",".join(["10.0.0.3"] * (MOST_HOPS + 1)): "unknown via 10.0.0.3",
}

FORWARDED = {
    f"for={CLIENT}": CLIENT,
    f"For={CLIENT}": CLIENT,
    f'for="{CLIENT}"': CLIENT,
    f'for="{CLIENT}:4711"': CLIENT,
    f"for={CLIENT}:4711": CLIENT,  # the required quotes are missing
    f'for="[{CLIENT_6}]"': CLIENT_6,
    f'for="[{CLIENT_6}]:4711"': CLIENT_6,
    'FOR="[2001:DB8::1]:4711"': CLIENT_6,
    f'for="[{CLIENT_6}]:_port"': CLIENT_6,
    f'for="[::ffff:{CLIENT}]:4711"': CLIENT,
    f'for="203.0.\\113.7"': CLIENT,  # noqa: F541  (an unneeded escape)
    f'by="[fd00::2]";for={CLIENT};proto=https;host="ws.exchange.example:443"': CLIENT,
    f"proto=https ; for={CLIENT};": CLIENT,
    f"for=6.6.6.6, for={CLIENT}": CLIENT,
    f"for=6.6.6.6,for={CLIENT} , for=10.0.0.3;by=10.0.0.2": CLIENT,
    f'for=6.6.6.6, for={CLIENT};host="a,for=7.7.7.7", for="[fd00::3]:1"': CLIENT,
    # An unclosed quote must not hide what a proxy appends.
    f'for="6.6.6.6, for={CLIENT}': CLIENT,
    f'for=6.6.6.6;x=", for="{CLIENT}"': CLIENT,
    f'for=6.6.6.6;x="\\, for={CLIENT};host=""': CLIENT,
    "": PROXY,
    "for=6.6.6.6, for=unknown": HIDDEN,
    "for=6.6.6.6, for=_hidden": HIDDEN,
    'for=6.6.6.6, for="_SEVKISEK"': HIDDEN,
    "for=6.6.6.6, proto=https;by=10.0.0.2": HIDDEN,
    'for=6.6.6.6, for=""': HIDDEN,
    "for=6.6.6.6, for=": HIDDEN,
    "for=6.6.6.6, ": HIDDEN,
    "for=6.6.6.6, for=@": HIDDEN,
    f"for=6.6.6.6, for={CLIENT};for=7.7.7.7": HIDDEN,
    f"for=6.6.6.6, {CLIENT}": HIDDEN,
    "for=6.6.6.6, for=_hidden, for=10.0.0.3": "unknown via 10.0.0.3",
    "for=6.6.6.6, x=" + "y" * HOP_CHARACTERS: HIDDEN,
    ",".join(["for=10.0.0.3"] * (MOST_HOPS + 1)): "unknown via 10.0.0.3",
}


@pytest.mark.parametrize("peer", PEERS)
def test_address_of_a_peer_without_headers(peer: str) -> None:
    assert resolve(peer, {}, []) == PEERS[peer]
    assert resolve(peer, {}, TRUSTED) == PEERS[peer]


@pytest.mark.parametrize("header", FORWARDED_FOR)
def test_address_in_x_forwarded_for(header: str) -> None:
    for named in (None, "x-forwarded-for"):
        assert resolve(PROXY, {"HTTP_X_FORWARDED_FOR": header}, TRUSTED, named) == FORWARDED_FOR[header]  # type: ignore[arg-type]


@pytest.mark.parametrize("header", FORWARDED)
def test_address_in_forwarded(header: str) -> None:
    for named in (None, "forwarded"):
        assert resolve(PROXY, {"HTTP_FORWARDED": header}, TRUSTED, named) == FORWARDED[header]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        (PROXY, CLIENT),
        (f"::ffff:{PROXY}", CLIENT),  # `WEBSOCKET_HOST=::`
        (f"{PROXY}:1234", CLIENT),
        ("::ffff:7f00:1", CLIENT),
        ("fd00::2", CLIENT),
        ("fd00::2%eth0", CLIENT),
        ("", CLIENT),  # a Unix socket: any user with access to the file
        ("198.51.100.1", "198.51.100.1"),  # any client can send these headers
        ("::ffff:198.51.100.1", "198.51.100.1"),
        ("2001:db8::5", "2001:db8::5"),
        ("::10.0.0.2", "::a00:2"),  # deprecated form, not a mapped address
        ("nonsense", "unknown"),
    ],
)
def test_headers_are_used_from_trusted_peers_only(peer: str, address: str) -> None:
    for environ in ({"HTTP_X_FORWARDED_FOR": CLIENT}, {"HTTP_FORWARDED": f"for={CLIENT}"}):
        assert resolve(peer, environ, TRUSTED) == address


def test_unix_socket_is_trusted_only_with_trusted_proxies() -> None:
    assert resolve("", {"HTTP_X_FORWARDED_FOR": CLIENT}, []) == ""
    assert resolve("", {"HTTP_X_FORWARDED_FOR": "nonsense"}, TRUSTED) == "unknown via unix:"


@pytest.mark.parametrize(("header", "address"), [(None, CLIENT), ("x-forwarded-for", CLIENT), ("forwarded", CLIENT_6)])
def test_only_one_of_two_headers_is_used(header: Header | None, address: str) -> None:
    both = {"HTTP_X_FORWARDED_FOR": CLIENT, "HTTP_FORWARDED": f'for="[{CLIENT_6}]"'}
    assert resolve(PROXY, both, TRUSTED, header) == address


def test_header_that_the_proxies_do_not_set_is_ignored() -> None:
    assert resolve(PROXY, {"HTTP_FORWARDED": f"for={CLIENT}"}, TRUSTED, "x-forwarded-for") == PROXY
    assert resolve(PROXY, {"HTTP_X_FORWARDED_FOR": CLIENT}, TRUSTED, "forwarded") == PROXY


@pytest.mark.parametrize(
    ("address", "key"),
    [
        (CLIENT, CLIENT),
        (f"::ffff:{CLIENT}", CLIENT),
        (CLIENT_6, "2001:db8::/64"),
        ("2001:db8::ffff:ffff:ffff:ffff", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        (HIDDEN, HIDDEN),
        ("unknown", "unknown"),
        (PROXY, None),
        (f"::ffff:{PROXY}", None),
        ("fd00::2", None),
        ("", None),
    ],
)
def test_rate_limit_keys_of_addresses(address: str, key: str | None) -> None:
    assert rate_limit_key(address, TRUSTED) == key


hop = st.text(alphabet='0123456789abcdef:.[]", ;=\\_%forunkwx', max_size=40)


@given(st.lists(hop, max_size=4), st.booleans())
def test_no_claim_of_a_client_hides_what_a_proxy_appends(claims: list[str], quoted: bool) -> None:
    claim = ",".join(claims)
    assert resolve(PROXY, {"HTTP_X_FORWARDED_FOR": f"{claim}, {CLIENT}"}, TRUSTED) == CLIENT
    appended = f'for="{CLIENT}:4711";host="ws.example"' if quoted else f"for={CLIENT}"
    assert resolve(PROXY, {"HTTP_FORWARDED": f"{claim}, {appended}"}, TRUSTED) == CLIENT


@given(hop)
def test_any_header_gives_an_address_or_unknown(header: str) -> None:
    for environ in ({"HTTP_X_FORWARDED_FOR": header}, {"HTTP_FORWARDED": header}):
        found = resolve(PROXY, environ, TRUSTED)
        if found != HIDDEN and not found.startswith("unknown via 10."):
            ipaddress.ip_address(found)


@pytest.mark.parametrize("text", [",", '"', ";", 'a="', "for=10.0.0.3,", "for=10.0.0.3,,", 'for="\\'])
def test_only_a_bounded_part_of_a_header_is_read(text: str) -> None:
    """Clients control the length of headers, so only a bounded part is read."""
    for name in ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED"):
        assert resolve(PROXY, {name: text * 100_000}, TRUSTED).startswith("unknown via 10.0.0.")


@pytest.mark.parametrize(
    ("peer", "networks", "trusted"),
    [
        ("10.0.0.1", ["10.0.0.0/8"], True),
        ("::ffff:10.0.0.1", ["10.0.0.0/8"], True),
        ("11.0.0.1", ["10.0.0.0/8"], False),
        ("", ["10.0.0.0/8"], True),
        ("", [], False),
        ("nonsense", ["0.0.0.0/0", "::/0"], False),
    ],
)
def test_a_peer_is_trusted_by_its_address(peer: str, networks: list[str], trusted: bool) -> None:
    assert is_trusted_peer(peer, [network(one) for one in networks]) is trusted
