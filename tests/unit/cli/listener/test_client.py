"""The client of `listen` against small servers that speak the gateway's protocols."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Any

import jwt
import pytest
from websockets.sync.client import connect

from peatio_ws.cli.listener import client as listen_client
from peatio_ws.cli.listener.client import ListenTarget
from tests.support.certificate import Certificate
from tests.support.tls_server import TlsServer
from tests.unit.cli.small_server import AUTHENTICATED, BOOK, CHALLENGE, WAIT, Peer, frames, listen, server, subscribed

# ---- addresses and tokens


@pytest.mark.parametrize(
    ("url", "streams", "address"),
    [
        ("ws://host:1/", (), "ws://host:1/"),
        ("ws://host:1", ("btcusd.trades",), "ws://host:1?stream=btcusd.trades"),
        ("wss://host/public/", ("a.b", "c.d"), "wss://host/public/?stream=a.b&stream=c.d"),
        ("ws://host/?token=x&stream=a.b,c.d", ("e.f",), "ws://host/?token=x&stream=a.b,c.d&stream=e.f"),
        ("ws://host/", ("a&b=c d",), "ws://host/?stream=a%26b%3Dc%20d"),
    ],
)
def test_streams_are_added_to_the_query(url: str, streams: tuple[str, ...], address: str) -> None:
    assert ListenTarget(url, streams).address == address


@pytest.mark.parametrize(
    ("url", "streams", "ranger", "token"),
    [
        ("ws://host/", (), False, True),
        ("ws://host/api/v2/socket", (), False, True),
        ("ws://host/publicity?streams=a.b", (), False, True),
        ("ws://host/public/x", (), False, True),
        ("ws://host/public", (), True, False),
        ("ws://host/api/v2/ranger/x", (), True, False),
        ("ws://host/?stream=a.b", (), True, False),
        ("ws://host/", ("a.b",), True, False),
        ("ws://host/private/", (), True, True),
        ("ws://host/private", ("a.b",), True, True),
        ("ws://host/public", ("a.b", "order"), True, True),
        ("ws://host/public?stream=a.b,order", (), True, True),
        ("ws://host/", ("admin.a.b",), True, True),
    ],
)
def test_token_is_sent_only_for_private_streams(url: str, streams: tuple[str, ...], ranger: bool, token: bool) -> None:
    target = ListenTarget(url, streams, "T")
    assert (target.speaks_ranger, target.needs_token) == (ranger, token)
    assert target.headers == ({"Authorization": "Bearer T"} if ranger else {})
    assert target.speaks_first is not ranger
    asked = ListenTarget(url, streams, "T", by_message=True)
    assert (asked.headers, asked.speaks_first, asked.needs_token, asked.address) == ({}, True, True, url)
    assert not ListenTarget(url, streams).speaks_first


@pytest.mark.parametrize(
    ("url", "resume", "address"),
    [
        ("ws://host/?stream=order", "1", "ws://host/?stream=order&resume=1"),
        ("ws://host/private?resume=old&stream=order", "a b", "ws://host/private?stream=order&resume=a%20b"),
        ("ws://host/private", None, "ws://host/private"),
        ("ws://host/", "c1", "ws://host/"),  # in the message with the token
    ],
)
def test_cursor_is_in_the_query_next_to_a_token_in_a_header(url: str, resume: str | None, address: str) -> None:
    assert ListenTarget(url, bearer="T", resume=resume).resuming_address == address
    assert ListenTarget(url, resume=resume).resuming_address == url


# ---- classic


def test_classic_protocol_is_used_without_streams(key: None) -> None:
    def script(peer: Peer) -> None:
        peer.send(CHALLENGE)
        scheme, bearer = peer.receive()["jwt"].split()
        claims = jwt.decode(bearer, options={"verify_signature": False})
        assert (scheme, claims["uid"]) == ("Bearer", "ID7")
        peer.send(AUTHENTICATED, {"orderbook": {"id": 1}}, {"trade": {"id": 2}}, {"trade": {"id": 3}})

    with server(script) as served:
        result = listen(f"{served.url}/ --uid ID7 --count 2")
        assert served.bearer is None
    assert (result.exit_code, result.stderr) == (0, "")
    assert frames(result) == [CHALLENGE, AUTHENTICATED, {"orderbook": {"id": 1}}, {"trade": {"id": 2}}]


# ---- ranger


def test_count_begins_after_subscribing() -> None:
    with server(lambda peer: peer.send(BOOK, BOOK, subscribed("btcusd.ob-inc"), "pong")) as served:
        result = listen(f"{served.url}/ --stream btcusd.ob-inc --count 1")
    assert result.exit_code == 0
    assert frames(result) == [BOOK, BOOK, subscribed("btcusd.ob-inc")]


@pytest.mark.parametrize("path", ["/", "/public"])
def test_token_can_be_sent_in_a_message(key: None, path: str) -> None:
    def script(peer: Peer) -> None:
        assert peer.streams == []
        peer.send(CHALLENGE if path == "/" else subscribed())
        assert peer.receive()["jwt"].startswith("Bearer ")
        peer.send(AUTHENTICATED)
        assert peer.receive() == {"event": "subscribe", "streams": ["order", "btcusd.ob-inc"]}
        peer.send(BOOK, subscribed("order", "btcusd.ob-inc"), {"order": {"id": 1}})

    with server(script) as served:
        result = listen(f"{served.url}{path} --jwt --stream order --stream btcusd.ob-inc --count 2")
        assert served.bearer is None
    assert (result.exit_code, result.stderr) == (0, "")
    assert frames(result)[-1] == {"order": {"id": 1}}


# ---- ending


@pytest.mark.parametrize("error", ["cannot subscribe to admin.btcusd.sys", {"message": "Authentication failed."}])
def test_error_is_shown_and_ends_with_status_3(key: None, error: Any) -> None:
    with server(lambda peer: peer.send(CHALLENGE, {"error": error})) as served:
        result = listen(f"{served.url}/ --stream admin.btcusd.sys")
    assert result.exit_code == 3
    assert frames(result)[-1] == {"error": error}
    assert result.stderr == f"refused: {error if isinstance(error, str) else error['message']}\n"


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (HTTPStatus.UNAUTHORIZED, 3, "not authenticated: HTTP 401 (a token, please)"),
        (HTTPStatus.SERVICE_UNAVAILABLE, 1, ": HTTP 503 (a token, please)"),
    ],
)
def test_refused_handshake_is_reported(key: None, status: HTTPStatus, code: int, said: str) -> None:
    with server(lambda _: None, (status, "a token, please\n")) as served:
        result = listen(f"{served.url}/private")
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr


def test_missing_answer_is_reported_unless_time_was_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect_patiently(url: str, **options: Any) -> Any:
        return connect(url, **{**options, "open_timeout": WAIT})

    monkeypatch.setattr(
        listen_client, "connect", connect_patiently
    )  # the limit applies to the answer, not to the handshake
    monkeypatch.setattr(listen_client, "ANSWER_SECONDS", 0.0)
    with server(lambda peer: peer.send(BOOK)) as served:
        result = listen(f"{served.url}/ --stream btcusd.ob-inc")
        assert result.exit_code == 1
        assert "no answer from" in result.stderr
        assert listen(f"{served.url}/ --stream btcusd.ob-inc --seconds 0").exit_code == 0


def test_listen_ends_after_the_given_seconds() -> None:
    with server(lambda peer: peer.send(subscribed("a.b"))) as served:
        for seconds in (0.2, 2, WAIT):  # more only if the machine was too slow to answer
            result = listen(f"{served.url}/ --stream a.b --seconds {seconds}")
            assert (result.exit_code, result.stderr) == (0, "")
            if frames(result):
                break
    assert frames(result) == [subscribed("a.b")]


# ---- whether to connect again


@pytest.mark.parametrize(
    ("code", "reason", "again"),
    [
        (1012, "restart; retry after 7", 7.0),
        (1013, "full; try again later", 0),
        (4401, "token expired", 0),
        (4413, "", 0),
        (1008, "too many messages", None),
        (4403, "disconnected by the operator", None),
        (1000, "", None),
    ],
)
def test_close_code_decides_whether_to_connect_again(code: int, reason: str, again: float | None) -> None:
    def script(peer: Peer) -> None:
        peer.send(subscribed("a.b"), {"a.b": 1}, {"a.b": 2})
        peer.close(code, reason)

    with server(script) as served:
        end = listen_client.run_listener(ListenTarget(f"{served.url}/public?stream=a.b"), lambda _: None)
    assert (end.status, end.events, end.again) == (listen_client.CLOSED, 2, again)


@pytest.mark.parametrize(
    ("status", "again"),
    [(HTTPStatus.SERVICE_UNAVAILABLE, 0), (HTTPStatus.TOO_MANY_REQUESTS, 0), (HTTPStatus.UNAUTHORIZED, None),
     (HTTPStatus.FORBIDDEN, None), (HTTPStatus.BAD_GATEWAY, 0)],
)  # fmt: skip
def test_refused_handshake_decides_whether_to_connect_again(status: HTTPStatus, again: float | None) -> None:
    with server(lambda peer: None, refuse=(status, "No.")) as served:
        assert listen_client.run_listener(ListenTarget(f"{served.url}/public"), lambda _: None).again == again


def test_refused_certificate_of_the_gateway_is_explained(tmp_path: Path) -> None:
    own = Certificate(tmp_path / "tls")
    with TlsServer(own.cert, own.key) as served:
        end = listen_client.run_listener(
            ListenTarget(f"wss://localhost:{served.port}/public", ("btcusd.trades",)), print
        )
    assert end.status == listen_client.NOT_CONNECTED
    assert "the server's certificate is self-signed" in end.why
    assert "set SSL_CERT_FILE to a file with that certificate" in end.why
