"""A gateway mounted in frameworks and wrapped by middleware, under the real gunicorn with RabbitMQ."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.support.apps.sites import FILE, PAGE
from tests.support.gateway import ROOT, WAIT, GatewayProcess, Publisher, Signer
from tests.support.raw_client import TEXT, Answer, Frame, RawClient, close, text
from tests.support.servers import START_SECONDS, RabbitMQ, wait_until
from tests.support.serving import authenticated, listens

FRAMEWORKS = [f"/mounted/{name}/ws" for name in ("bottle", "pyramid", "flask", "django")]
MIDDLEWARE = "/bare /timed /gzipped /lazy /copied /validated /linted /proxied /all".split()
PLACES = ["", *MIDDLEWARE, *FRAMEWORKS]


@pytest.fixture(scope="module")
def mounts(folder: Path, broker: RabbitMQ, signer: Signer) -> Iterator[GatewayProcess]:
    process = GatewayProcess(
        folder, {"AMQP_URL": broker.url, **signer.environ}, command=("gunicorn", "tests.support.apps.mounts")
    )
    yield process
    process.stop()


def get(gateway: GatewayProcess, path: str, **headers: str) -> Answer:
    """Send a plain request and return the answer."""
    with RawClient(gateway.port) as client:
        usual = dict.fromkeys(("Upgrade", "Sec-WebSocket-Key", "Sec-WebSocket-Version"))
        return client.request({**usual, "Connection": "close", **headers}, f"GET {path} HTTP/1.1")


def held(gateway: GatewayProcess) -> int:
    """Return how many requests that became WebSockets the worker still holds in memory."""
    body: Any = json.loads(get(gateway, "/").body)
    return int(body[2])


@pytest.mark.parametrize("place", PLACES)
def test_member_receives_its_events_under_every_mount(
    mounts: GatewayProcess, publisher: Publisher, signer: Signer, place: str
) -> None:
    with RawClient(mounts.port) as client:
        authenticated(client, signer.token("IDANN"), f"{place}/")
        publisher.order("IDANN", 7)
        assert client.json()["orderbook"]["id"] == 7
        assert held(mounts) == 0, "the request is still in memory"
    assert not mounts.tracebacks()
    assert "Warning" not in mounts.log()


@pytest.mark.parametrize("place", PLACES)
def test_paths_are_relative_to_the_mount(mounts: GatewayProcess, place: str) -> None:
    with RawClient(mounts.port) as client:
        client.upgrade(f"{place}/public?stream=btcusd.trades")
        assert client.json() == {"success": {"message": "subscribed", "streams": ["btcusd.trades"]}}
    with RawClient(mounts.port) as client:
        refused = client.request(line=f"GET {place}/private HTTP/1.1")
        assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")


def test_identity_and_address_come_from_middleware(mounts: GatewayProcess) -> None:
    origin = {"Origin": "https://exchange.example", "X-Forwarded-Host": "exchange.example"}
    with RawClient(mounts.port) as client:
        assert client.request(origin, "GET /bare/ HTTP/1.1").status == 403
    with RawClient(mounts.port) as client:
        assert client.request({**origin, "X-Forwarded-For": "192.0.2.7"}, "GET /proxied/ HTTP/1.1").status == 101
        client.json()
        client.send(close(1000))
        client.closed()
        client.ended()
    wait_until(lambda: '"address": "192.0.2.7"' in mounts.log(), "the connection's end in the log")


@pytest.mark.parametrize(("last", "code"), [("enough", 1000), ("a KeyError", 1011)])
def test_outer_application_keeps_its_own_websockets(mounts: GatewayProcess, last: str, code: int) -> None:
    with RawClient(mounts.port) as client:
        client.upgrade("/mounted/flask/legacy").send(text("hello"), text(last))
        assert client.next() == Frame(TEXT, b"/legacy says hello")
        assert client.closed()[0] == code
        client.send(close(code))
        client.ended()


# ---- handlers that identify clients through the application


def upgrade_as(client: RawClient, cookie: str | None, path: str = "/who", **headers: str) -> int:
    return client.request({"Cookie": cookie, **headers}, f"GET {path} HTTP/1.1").status


@pytest.mark.parametrize("place", PLACES)
def test_view_pushes_to_members_of_the_application(mounts: GatewayProcess, browser: HTTPConnection, place: str) -> None:
    with RawClient(mounts.port) as ann, RawClient(mounts.port) as bob:
        for client, uid in ((ann, "IDANN"), (bob, "IDBOB")):
            assert upgrade_as(client, uid, f"{place}/who") == 101
            assert client.json() == [uid, f"http://localhost{place}/who"]
        body_of(browser, "/?IDBOB", "POST", body=b'{"text":"for Bob"}')
        body_of(browser, "/?IDANN", "POST", body=b'{"text":"for Ann"}')
        assert ann.json() == {"message": {"text": "for Ann"}}
        assert bob.json() == {"message": {"text": "for Bob"}}


def test_token_takes_precedence_over_a_cookie(mounts: GatewayProcess, signer: Signer) -> None:
    with RawClient(mounts.port) as client:
        assert upgrade_as(client, "IDBOB", Authorization=f"Bearer {signer.token('IDANN')}") == 101
        assert client.json() == ["IDANN", "http://localhost/who"]
    with RawClient(mounts.port) as client:
        assert upgrade_as(client, "IDBOB", Authorization="Bearer nonsense") == 401


def test_anonymous_refused_and_cross_origin_clients(mounts: GatewayProcess) -> None:
    with RawClient(mounts.port) as client:
        assert upgrade_as(client, None) == 101
        assert client.json() == [None, "http://localhost/who"]
    with RawClient(mounts.port) as client:
        assert upgrade_as(client, "IDANN", Origin="https://elsewhere.example") == 403
    with RawClient(mounts.port) as client:
        answer = client.request({"Cookie": "banned"}, "GET /who HTTP/1.1")
        assert (answer.status, answer.body) == (403, b"You are banned.\n")


# ---- ordinary requests of the wrapped application


@pytest.fixture(params=["flask", "django"])
def site(request: pytest.FixtureRequest) -> str:
    return f"/{request.param}"


@pytest.fixture
def browser(mounts: GatewayProcess) -> Iterator[HTTPConnection]:
    """A connection that stays open for the whole test: each test requests a page at its end."""
    connection = HTTPConnection("127.0.0.1", mounts.port, timeout=WAIT)
    connection.connect()
    connection.auto_open = False
    yield connection
    connection.close()


def body_of(browser: HTTPConnection, path: str, method: str = "GET", **options: Any) -> bytes:
    browser.request(method, path, **options)
    answer = browser.getresponse()
    assert answer.status == 200
    return answer.read()


def assert_kept(browser: HTTPConnection, site: str) -> None:
    assert body_of(browser, f"{site}/page") == PAGE.encode()


def test_head_has_the_headers_of_get_and_no_body(browser: HTTPConnection, site: str) -> None:
    for path in ("page", "stream", "file"):
        browser.request("HEAD", f"{site}/{path}")
        answer = browser.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
    assert_kept(browser, site)


def test_streamed_answer_arrives_part_by_part(mounts: GatewayProcess, browser: HTTPConnection, site: str) -> None:
    browser.request("GET", f"{site}/stream")
    answer = browser.getresponse()
    assert answer.read(6) == b"first,"
    assert get(mounts, f"{site}/go").body == b"gone"
    assert answer.read() == b"second"
    assert_kept(browser, site)


def test_large_bodies_pass_unchanged(browser: HTTPConnection, site: str) -> None:
    assert body_of(browser, f"{site}/file") == FILE
    form = (
        b'--x\r\nContent-Disposition: form-data; name="document"; filename="a.bin"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n" + FILE + b"\r\n--x--\r\n"
    )
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert json.loads(body_of(browser, f"{site}/size", "POST", body=form, headers=headers)) == len(FILE)
    assert_kept(browser, site)


def test_chunked_body_is_passed_to_the_framework(browser: HTTPConnection, site: str) -> None:
    chunks = [FILE[:1000]] * 3
    found = json.loads(body_of(browser, f"{site}/size", "POST", body=iter(chunks), encode_chunked=True))
    assert found == {"/flask": 3000, "/django": 0}[site]  # Django reads only bodies with a Content-Length
    assert browser.sock is None, (
        "the answer has to announce that the connection closes, so that nothing after the chunks is read as a request"
    )


def test_unread_body_is_not_parsed_as_the_next_request(browser: HTTPConnection, site: str) -> None:
    assert body_of(browser, f"{site}/ignores", "POST", body=FILE) == b"never mind"
    assert_kept(browser, site)


def test_redirects_cookies_and_empty_answers(browser: HTTPConnection, site: str) -> None:
    browser.request("GET", f"{site}/jump")
    answer = browser.getresponse()
    assert (answer.status, answer.headers["Location"]) == (302, "/page")
    answer.read()
    browser.request("GET", f"{site}/cookies", headers={"Cookie": "x=1; y=2"})
    answer = browser.getresponse()
    assert json.loads(answer.read()) == {"x": "1", "y": "2"}
    assert [cookie[:4] for cookie in answer.headers.get_all("Set-Cookie")] == ["a=1;", "b=2;"]
    browser.request("DELETE", f"{site}/nothing")
    answer = browser.getresponse()
    assert (answer.status, answer.read()) == (204, b"")
    assert_kept(browser, site)


def test_exception_is_answered_with_the_frameworks_error_page(browser: HTTPConnection, site: str) -> None:
    browser.request("GET", f"{site}/bug")
    answer = browser.getresponse()
    assert answer.status == 500
    assert re.search(b"<title>(500 Internal Server Error|Server Error \\(500\\))</title>", answer.read())
    assert_kept(browser, site)


def test_failing_identify_prevents_the_upgrade(mounts: GatewayProcess) -> None:
    with RawClient(mounts.port) as client:
        answer = client.request({"Cookie": "bug"}, "GET /who HTTP/1.1")
    assert (answer.status, b"database" in answer.body) == (500, False)
    (failure,) = [event for event in mounts.events() if event["event"] == "identify failed"]
    assert failure["handler"] == "/who"
    assert "the sessions' database is away" in failure["exception"]


# ---- other servers, and shutdown


@pytest.mark.parametrize(("handler", "refusal"), [("Handler", 403), ("WebSocketServer.handler_class", 101)])
def test_gateway_under_gevent_websockets_own_server(
    folder: Path, broker: RabbitMQ, publisher: Publisher, signer: Signer, handler: str, refusal: int
) -> None:
    script = (ROOT / "examples" / "websocket_server.py").read_text()
    (folder / "own_server.py").write_text(script.replace("handler_class=Handler", f"handler_class={handler}"))
    environ = {"AMQP_URL": broker.url, **signer.environ, "PYTHONPATH": f"{ROOT}:{folder}"}
    server = GatewayProcess(folder, environ, command=("own_server",), wait=False)
    try:
        wait_until(lambda: listens(server.port), "the server listens", START_SECONDS, 0.05)
        assert get(server, "/hello").body.startswith(b"Hello world!")
        with RawClient(server.port) as refused, RawClient(server.port) as client:
            assert refused.request({"Origin": "https://elsewhere.example"}).status == refusal
            if refusal == 101:
                assert refused.closed() == (1008, "This origin is not among API_CORS_ORIGINS.")
            authenticated(client, signer.token("IDANN"))
            publisher.order("IDANN", 7)
            assert client.json()["orderbook"]["id"] == 7
            os.kill(server.pid, signal.SIGTERM)
            code, reason = client.closed()
            assert (code, reason[:7]) == (1012, "restart")
            client.send(close(1012))
            client.ended()
        assert server.process.wait(WAIT) == 0
        assert not server.tracebacks()
    finally:
        server.stop()


def test_server_without_websockets_is_reported(folder: Path, signer: Signer) -> None:
    server = GatewayProcess(folder, signer.environ, command=("tests.support.apps.plain_server",), wait=False)
    try:
        wait_until(lambda: listens(server.port), "the server listens", START_SECONDS, 0.05)
        with RawClient(server.port) as client:
            answer = client.request()
        assert answer.status == 501
        assert b"Start the application with `peatio-ws run MODULE`" in answer.body
        assert get(server, "/hello").body.startswith(b"Hello world!")
        assert not server.tracebacks()
    finally:
        server.stop()


def test_shutdown_notifies_every_client(mounts: GatewayProcess, signer: Signer) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(RawClient(mounts.port)) for _ in PLACES]
        for client, place in zip(clients, PLACES, strict=True):
            authenticated(client, signer.token("IDANN"), f"{place}/")
        os.kill(mounts.pid, signal.SIGTERM)
        for client in clients:
            code, reason = client.closed()
            assert (code, reason[:7]) == (1012, "restart")
            client.drop()
        assert mounts.process.wait(WAIT) == 0
