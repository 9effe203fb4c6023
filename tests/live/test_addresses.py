"""The client's address behind all kinds of proxies: every form counts towards the limits and appears in the log."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.gateway import GatewayProcess, Signer
from tests.support.raw_client import RawClient, close
from tests.support.servers import wait_until

LIMIT, CONNECTIONS = 2, 5


class Form(NamedTuple):
    """How a proxy passes on the client's address. `value` returns the header's value for the n-th connection."""

    header: str
    value: Callable[[int], str]
    address: str


HIDDEN = "unknown via 127.0.0.1"
FORMS = {
    "plain": Form("X-Forwarded-For", lambda n: "203.0.113.1", "203.0.113.1"),
    "ip:port": Form("X-Forwarded-For", lambda n: f"203.0.113.2:{50000 + n}", "203.0.113.2"),
    "mapped": Form("X-Forwarded-For", lambda n: ("::ffff:203.0.113.3", "203.0.113.3")[n % 2], "203.0.113.3"),
    "[mapped]:port": Form("X-Forwarded-For", lambda n: f"[::ffff:203.0.113.4]:{50000 + n}", "203.0.113.4"),
    "hex mapped": Form("X-Forwarded-For", lambda n: "::FFFF:cb00:7105", "203.0.113.5"),
    "v6": Form("X-Forwarded-For", lambda n: f"2001:db8:0:1::{n}", "2001:db8:0:1::"),
    "[v6]": Form("X-Forwarded-For", lambda n: "[2001:db8:0:2::1]", "2001:db8:0:2::1"),
    "[v6]:port": Form("X-Forwarded-For", lambda n: f"[2001:db8:0:3::1]:{50000 + n}", "2001:db8:0:3::1"),
    "quoted": Form("X-Forwarded-For", lambda n: f'"[2001:db8:0:4::1]:{50000 + n}"', "2001:db8:0:4::1"),
    "zone": Form("X-Forwarded-For", lambda n: f"fe80::1%eth{n}", "fe80::1"),
    "hops": Form("X-Forwarded-For", lambda n: f"9.9.9.{n}, 203.0.113.6:{n}, 127.0.0.1:{n}", "203.0.113.6"),
    "mapped hop": Form("X-Forwarded-For", lambda n: f"9.9.9.{n}, 203.0.113.7, ::ffff:127.0.0.1", "203.0.113.7"),
    "unix hop": Form("X-Forwarded-For", lambda n: f"9.9.9.{n}, 203.0.113.8, unix:", "203.0.113.8"),
    "lines": Form("X-Forwarded-For", lambda n: f"9.9.9.{n}\r\nX-Forwarded-For: 203.0.113.9", "203.0.113.9"),
    "blanks": Form("X-Forwarded-For", lambda n: f" ,, 9.9.9.{n} ,\t203.0.113.10 \t", "203.0.113.10"),
    "both": Form("X-Forwarded-For", lambda n: f"203.0.113.11\r\nForwarded: for=9.9.9.{n}", "203.0.113.11"),
    "for=": Form("Forwarded", lambda n: "for=203.0.113.12", "203.0.113.12"),
    "For=": Form("Forwarded", lambda n: f'proto=https; For="203.0.113.13:{50000 + n}";by=_x', "203.0.113.13"),
    "for=[v6]": Form("Forwarded", lambda n: f'for="[2001:DB8:0:5::1]:{4711 + n}"', "2001:db8:0:5::1"),
    "elements": Form("Forwarded", lambda n: f"for=9.9.9.{n}, for=203.0.113.14, for=127.0.0.1", "203.0.113.14"),
    "quote": Form("Forwarded", lambda n: f'for="9.9.9.{n}, for=203.0.113.15;host="a,b"', "203.0.113.15"),
    "Forwarded lines": Form("Forwarded", lambda n: f"for=9.9.9.{n}\r\nForwarded: for=203.0.113.16", "203.0.113.16"),
}
"""Every form has a different address."""

UNREADABLE = {
    "unknown": Form("Forwarded", lambda n: "for=unknown", HIDDEN),
    "obfuscated": Form("Forwarded", lambda n: f"for=_hidden{n}", HIDDEN),
    "no for": Form("Forwarded", lambda n: f"for=9.9.9.{n}, proto=https", HIDDEN),
    "nonsense": Form("X-Forwarded-For", lambda n: f"9.9.9.{n}, nonsense-{n}", HIDDEN),
    "empty hop": Form("X-Forwarded-For", lambda n: f"9.9.9.{n}, ", HIDDEN),
}


@pytest.fixture(scope="module")
def dual_stack(folder: Path, signer: Signer) -> Iterator[GatewayProcess]:
    """A gateway that listens on `::`, so that addresses of IPv4 clients look like `::ffff:127.0.0.1`."""
    environ = {"WEBSOCKET_HOST": "::", "TRUSTED_PROXIES": "127.0.0.1", "AMQP_URL": "memory://", **signer.environ}
    process = GatewayProcess(folder, {**environ, "WEBSOCKET_MAX_CONNECTIONS_PER_ADDRESS": str(LIMIT)})
    yield process
    process.stop()


def connect_all(gateway: GatewayProcess, form: Form | None, source: str | None = None, where: str = "") -> list[int]:
    """Open five connections and keep them open until all are answered. Return the status of each answer."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(RawClient(where or gateway.port, source=source)) for _ in range(CONNECTIONS)]
        return [
            client.request({form.header: form.value(number)} if form else {}).status
            for number, client in enumerate(clients)
        ]


def refused(gateway: GatewayProcess) -> list[str]:
    return [line["address"] for line in gateway.events() if line["event"] == "handshake refused"]


@pytest.mark.parametrize("name", FORMS)
def test_limit_holds_in_every_form_of_an_address(dual_stack: GatewayProcess, name: str) -> None:
    assert connect_all(dual_stack, FORMS[name]) == [101] * LIMIT + [429] * (CONNECTIONS - LIMIT)
    if name == "v6":  # the connections have different addresses of one /64
        return
    wait_until(lambda: refused(dual_stack).count(FORMS[name].address) == CONNECTIONS - LIMIT, "the address in the log")


@pytest.mark.parametrize("name", UNREADABLE)
def test_clients_without_a_readable_address_share_one_limit(dual_stack: GatewayProcess, name: str) -> None:
    before = refused(dual_stack).count(HIDDEN)
    wait_until(
        lambda: connect_all(dual_stack, UNREADABLE[name])[:LIMIT] == [101] * LIMIT, "earlier connections have ended"
    )
    assert connect_all(dual_stack, UNREADABLE[name])[LIMIT:] == [429] * (CONNECTIONS - LIMIT)
    wait_until(lambda: refused(dual_stack).count(HIDDEN) > before, "the proxy in the log")


def test_limit_holds_for_ipv4_clients_on_a_dual_stack_socket(dual_stack: GatewayProcess) -> None:
    forged = Form("X-Forwarded-For", lambda n: f"9.9.9.{n}", "127.3.0.1")
    assert connect_all(dual_stack, forged, source="127.3.0.1") == [101] * LIMIT + [429] * (CONNECTIONS - LIMIT)
    wait_until(lambda: "127.3.0.1" in refused(dual_stack), "its own address in the log")
    with RawClient(dual_stack.port, source="127.3.0.2") as client:
        client.upgrade()
        client.send(close(1000))
        client.next()
    with RawClient(dual_stack.port, source="127.3.0.3") as client:
        client.send(b"GET / HTTP/1.1\r\nno field\r\n\r\n")
        client.answer()

    def logged(event: str) -> list[str]:
        return [line["address"] for line in dual_stack.events() if line["event"] == event]

    wait_until(lambda: "127.3.0.2" in logged("connection closed"), "its end in the log")
    wait_until(lambda: "127.3.0.3" in logged("request cannot be read"), "its error in the log")


def test_connections_opened_by_the_proxy_itself_do_not_count(dual_stack: GatewayProcess) -> None:
    assert connect_all(dual_stack, None) == [101] * CONNECTIONS


def test_unix_socket_and_the_header_that_its_proxy_sets(tmp_path: Path, start: Callable[..., GatewayProcess]) -> None:
    where = str(tmp_path / "ws.sock")
    gateway = start(
        WEBSOCKET_UNIX=where,
        TRUSTED_PROXIES="127.0.0.1",
        TRUSTED_PROXIES_HEADER="Forwarded",
        AMQP_URL="memory://",
        WEBSOCKET_MAX_CONNECTIONS_PER_ADDRESS=str(LIMIT),
    )
    forged = Form("X-Forwarded-For", lambda n: f"9.9.9.{n}\r\nForwarded: for=203.0.113.1", "203.0.113.1")
    unreadable = Form("Forwarded", lambda n: f"for=_hidden{n}", "unknown via unix:")
    for form in (forged, unreadable):
        assert connect_all(gateway, form, where=where) == [101] * LIMIT + [429] * (CONNECTIONS - LIMIT)
        wait_until(lambda: refused(gateway).count(form.address) == CONNECTIONS - LIMIT, "in the log")  # noqa: B023
    assert connect_all(gateway, None, where=where) == [101] * CONNECTIONS


def test_refused_origin_is_in_the_log(dual_stack: GatewayProcess) -> None:
    for origin in ("https://Evil.example:8443/path?jwt=secret", 'nonsense"\x1b[31m', "null"):
        with RawClient(dual_stack.port) as client:
            assert client.request({"Origin": origin, "X-Forwarded-For": "198.51.100.9"}).status in (400, 403)

    def origins() -> list[str]:
        return [line["origin"] for line in dual_stack.events() if line.get("status") == 403]

    wait_until(lambda: len(origins()) >= 2, "the refusals")
    assert origins()[0] == "https://evil.example:8443"
    assert "secret" not in dual_stack.log()
    assert "\x1b" not in dual_stack.log()
