"""`listen` against small servers that speak as the gateway does."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from peatio_ws.cli import listen as listen_module
from peatio_ws.cli import listen_client
from peatio_ws.cli.listen_client import ListenTarget, readable
from peatio_ws.cli.main import main
from tests.support.certificate import Certificate
from tests.support.gateway import ROOT
from tests.support.tls_server import TlsServer

WAIT = 20
"""Seconds after which a test has failed."""

CHALLENGE = {"challenge": "x"}
AUTHENTICATED = {"success": {"message": "Authenticated."}}
BOOK = {"btcusd.ob-snap": {"asks": [], "bids": [], "sequence": 1}}
TRADES = {"btcusd.trades": {"trades": []}}


def subscribed(*streams: str) -> dict[str, Any]:
    return {"success": {"message": "subscribed", "streams": list(streams)}}


class Talk:
    """What a server has heard from its one client, and how it speaks to it."""

    def __init__(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self._connection, self.request = connection, connection.request

    def say(self, *frames: Any) -> None:
        for frame in frames:
            self._connection.send(frame if isinstance(frame, str) else json.dumps(frame))

    def hear(self) -> Any:
        return json.loads(self._connection.recv(timeout=WAIT))

    def close(self, code: int, reason: str = "") -> None:
        self._connection.close(code, reason)

    @property
    def streams(self) -> list[str]:
        return parse_qs(urlsplit(self.request.path).query).get("stream", [])


class Served:
    def __init__(self) -> None:
        self.url, self.requests, self.failures = "", list[Request](), list[BaseException]()

    @property
    def bearer(self) -> str | None:
        (request,) = self.requests
        return request.headers.get("Authorization")


@contextlib.contextmanager
def server(script: Callable[[Talk], None], refuse: tuple[HTTPStatus, str] | None = None) -> Iterator[Served]:
    """A server that goes through `script` with each client and then keeps silent until the client goes."""
    served = Served()

    def process_request(connection: ServerConnection, request: Request) -> Response | None:
        served.requests.append(request)
        return connection.respond(*refuse) if refuse else None

    def handler(connection: ServerConnection) -> None:
        try:
            with contextlib.suppress(ConnectionClosed):  # a client that has seen enough goes, whatever there is to say
                script(Talk(connection))
                raise AssertionError(f"not expected: {connection.recv(timeout=WAIT)!r}")
        except BaseException as failure:
            served.failures.append(failure)

    with serve(handler, "127.0.0.1", 0, process_request=process_request) as listener:
        thread = threading.Thread(target=listener.serve_forever)
        thread.start()
        served.url = f"ws://127.0.0.1:{listener.socket.getsockname()[1]}"
        try:
            yield served
        finally:
            listener.shutdown()
            thread.join(WAIT)
    assert not served.failures, served.failures


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if re.match("JWT|(http|https|all|no|ws)_proxy", name, re.IGNORECASE):
            monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def key(folder: Path) -> None:
    assert CliRunner().invoke(main, ["keygen"]).exit_code == 0


def listen(line: str, **environ: str) -> Result:
    result = CliRunner().invoke(main, ["listen", *line.split()], env=environ)
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    return result


def frames(result: Result) -> list[Any]:
    return [json.loads(line) for line in result.stdout.splitlines()]


# ---- what to say to whom


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
def test_streams_go_into_the_query_with_what_it_has(url: str, streams: tuple[str, ...], address: str) -> None:
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
def test_a_token_is_shown_only_for_what_is_not_for_everybody(
    url: str, streams: tuple[str, ...], ranger: bool, token: bool
) -> None:
    target = ListenTarget(url, streams, "T")
    assert (target.speaks_ranger, target.needs_token) == (ranger, token)
    assert target.headers == ({"Authorization": "Bearer T"} if ranger else {})
    assert target.speaks_first is not ranger
    asked = ListenTarget(url, streams, "T", by_message=True)
    assert (asked.headers, asked.speaks_first, asked.needs_token, asked.address) == ({}, True, True, url)
    assert not ListenTarget(url, streams).speaks_first


# ---- classic


def test_the_classic_protocol_is_spoken_without_streams(key: None) -> None:
    def script(talk: Talk) -> None:
        talk.say(CHALLENGE)
        scheme, bearer = talk.hear()["jwt"].split()
        claims = jwt.decode(bearer, options={"verify_signature": False})
        assert (scheme, claims["uid"]) == ("Bearer", "ID7")
        talk.say(AUTHENTICATED, {"orderbook": {"id": 1}}, {"trade": {"id": 2}}, {"trade": {"id": 3}})

    with server(script) as served:
        result = listen(f"{served.url}/ --uid ID7 --count 2")
        assert served.bearer is None
    assert (result.exit_code, result.stderr) == (0, "")
    assert frames(result) == [CHALLENGE, AUTHENTICATED, {"orderbook": {"id": 1}}, {"trade": {"id": 2}}]


# ---- ranger


def test_public_streams_need_no_token_and_no_key() -> None:
    def script(talk: Talk) -> None:
        assert talk.streams == ["btcusd.ob-inc", "btcusd.trades"]
        talk.say(BOOK, subscribed("btcusd.ob-inc", "btcusd.trades"), TRADES, TRADES)

    with server(script) as served:
        result = listen(f"{served.url}/public?stream=btcusd.ob-inc --stream btcusd.trades --count 2", JWT="T")
        assert served.bearer is None
    assert (result.exit_code, result.stderr) == (0, "")
    assert frames(result) == [BOOK, subscribed("btcusd.ob-inc", "btcusd.trades"), TRADES]


def test_it_does_not_end_before_it_is_subscribed() -> None:
    with server(lambda talk: talk.say(BOOK, BOOK, subscribed("btcusd.ob-inc"), "pong")) as served:
        result = listen(f"{served.url}/ --stream btcusd.ob-inc --count 1")
    assert result.exit_code == 0
    assert frames(result) == [BOOK, BOOK, subscribed("btcusd.ob-inc")]


@pytest.mark.parametrize("line", ["/ --stream order", "/?stream=admin.btcusd.sys", "/private --stream btcusd.trades"])
def test_a_token_goes_into_the_header(key: None, line: str) -> None:
    def script(talk: Talk) -> None:
        talk.say(subscribed(*talk.streams), {"order": {"id": 1}})

    with server(script) as served:
        result = listen(f"{served.url}{line} --count 1")
        assert re.fullmatch(r"Bearer [\w-]+\.[\w-]+\.[\w-]+", served.bearer or "")
    assert (result.exit_code, result.stderr) == (0, "")


def test_a_token_that_was_given_is_taken() -> None:
    with server(lambda talk: talk.say(subscribed(*talk.streams), {"order": {}})) as served:
        assert listen(f"{served.url}/ --stream order --count 1", JWT="T").exit_code == 0
        assert served.bearer == "Bearer T"


def test_listen_without_a_key_names_the_streams_it_did_not_get() -> None:
    with server(lambda talk: talk.say(subscribed("btcusd.trades"))) as served:
        result = listen(f"{served.url}/ --stream order --stream btcusd.trades")
        assert served.bearer is None
    assert result.exit_code == 3
    assert "without a token" in result.stderr
    assert "not subscribed: order;" in result.stderr


def test_named_file_without_a_key_is_reported() -> None:
    result = listen("ws://127.0.0.1:1/ --stream order --key missing")
    assert result.exit_code == 1
    assert "missing" in result.stderr


@pytest.mark.parametrize("path", ["/", "/public"])
def test_a_token_can_be_shown_in_a_message(key: None, path: str) -> None:
    def script(talk: Talk) -> None:
        assert talk.streams == []
        talk.say(CHALLENGE if path == "/" else subscribed())
        assert talk.hear()["jwt"].startswith("Bearer ")
        talk.say(AUTHENTICATED)
        assert talk.hear() == {"event": "subscribe", "streams": ["order", "btcusd.ob-inc"]}
        talk.say(BOOK, subscribed("order", "btcusd.ob-inc"), {"order": {"id": 1}})

    with server(script) as served:
        result = listen(f"{served.url}{path} --jwt --stream order --stream btcusd.ob-inc --count 2")
        assert served.bearer is None
    assert (result.exit_code, result.stderr) == (0, "")
    assert frames(result)[-1] == {"order": {"id": 1}}


# ---- the end


@pytest.mark.parametrize("error", ["cannot subscribe to admin.btcusd.sys", {"message": "Authentication failed."}])
def test_an_error_is_shown_and_ends_it_with_status_3(key: None, error: Any) -> None:
    with server(lambda talk: talk.say(CHALLENGE, {"error": error})) as served:
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


def test_close_is_shown_with_its_reason() -> None:
    with server(lambda talk: talk.close(1012, "restart; retry after 3")) as served:
        result = listen(f"{served.url}/public")
    assert (result.exit_code, result.stderr) == (4, "closed by the gateway: 1012 (restart; retry after 3)\n")


def test_closed_pipe_ends_the_command_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with server(lambda talk: talk.say(subscribed(), TRADES)) as served:
        command = [sys.executable, "-m", "peatio_ws", "listen", f"{served.url}/public"]
        ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, cwd=ROOT, timeout=WAIT, check=False)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_unreachable_gateway_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    result = listen(f"ws://127.0.0.1:{port}/public")
    assert result.exit_code == 1
    assert f"no connection to ws://127.0.0.1:{port}/public: nothing listens there" in result.stderr
    assert listen("http://127.0.0.1/public").exit_code == 1


def test_missing_answer_is_reported_unless_time_was_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect_patiently(url: str, **options: Any) -> Any:
        return connect(url, **{**options, "open_timeout": WAIT})

    monkeypatch.setattr(listen_client, "connect", connect_patiently)  # the limit is the answer's, not the handshake's
    monkeypatch.setattr(listen_client, "ANSWER_SECONDS", 0.0)
    with server(lambda talk: talk.say(BOOK)) as served:
        result = listen(f"{served.url}/ --stream btcusd.ob-inc")
        assert result.exit_code == 1
        assert "no answer from" in result.stderr
        assert listen(f"{served.url}/ --stream btcusd.ob-inc --seconds 0").exit_code == 0


def test_it_ends_after_the_given_seconds() -> None:
    with server(lambda talk: talk.say(subscribed("a.b"))) as served:
        for seconds in (0.2, 2, WAIT):  # more only if the machine was too slow for the answer
            result = listen(f"{served.url}/ --stream a.b --seconds {seconds}")
            assert (result.exit_code, result.stderr) == (0, "")
            if frames(result):
                break
    assert frames(result) == [subscribed("a.b")]


def test_ctrl_c_is_status_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen_module, "_print", lambda _: signal.raise_signal(signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        with server(lambda talk: talk.say(subscribed("a.b"))) as served:
            assert listen(f"{served.url}/ --stream a.b").exit_code == 0
    finally:
        signal.signal(signal.SIGINT, before)


# ---- what is shown on a terminal

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_a_frame_is_laid_out_as_pythons_json_does_it(value: object) -> None:
    compact = json.dumps(value, separators=(",", ":"))
    assert readable(compact) == json.dumps(value, indent=2)


@pytest.mark.parametrize(
    ("frame", "shown"),
    [
        ('{"price":9120.50,"id":1E+2}', '{\n  "price": 9120.50,\n  "id": 1E+2\n}'),
        ('{"n":123456789012345678901234567890.10}', '{\n  "n": 123456789012345678901234567890.10\n}'),
        ('{"a":"\\/ \\u00e9 é, [x]: \\"y\\""}', '{\n  "a": "\\/ \\u00e9 é, [x]: \\"y\\""\n}'),
        ('{"twice":1,"twice":2.0}', '{\n  "twice": 1,\n  "twice": 2.0\n}'),
        ('{"a":[],"b":{}}', '{\n  "a": [],\n  "b": {}\n}'),
        ("pong", "pong"),
        ('{"not":json', '{"not":json'),
        ("-0.0", "-0.0"),
        ('"\x9b31m\x7f"', '"\\u009b31m\\u007f"'),
    ],
)
def test_numbers_and_texts_are_shown_as_they_came(frame: str, shown: str) -> None:
    assert readable(frame) == shown


def test_digits_reach_a_terminal_as_they_came(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    listen_module._print('{"trade":{"price":9120.50,"volume":"0.10"}}')
    shown = capsys.readouterr().out
    assert '"price": 9120.50,' in shown
    assert '"volume": "0.10"' in shown


def test_a_gateway_s_certificate_that_is_refused_is_explained(tmp_path: Path) -> None:
    own = Certificate(tmp_path / "tls")
    with TlsServer(own.cert, own.key) as served:
        end = listen_client.run_listener(
            ListenTarget(f"wss://localhost:{served.port}/public", ("btcusd.trades",)), print
        )
    assert end.status == listen_client.NOT_CONNECTED
    assert "the server's certificate is self-signed" in end.why
    assert "set SSL_CERT_FILE to a file with that certificate" in end.why
