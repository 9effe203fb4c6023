"""The gateway as a WSGI application: upgrades, HTTP answers, start and stop."""

from __future__ import annotations

import gc
import http.client
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response

from peatio_ws import Gateway, testing
from peatio_ws.config.settings import Settings
from peatio_ws.errors import ConfigurationError, Refused

SECRET = "what only the log may have"


def plain(server: testing.Server, method: str = "GET", path: str = "/") -> tuple[int, Mapping[str, str], str]:
    """Return status, headers and body of the answer to a request without an upgrade."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request(method, path, headers={"Connection": "close"})
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read().decode()


def refused(server: testing.Server, path: str = "/", token: str | None = None, **headers: str) -> Response:
    """Return the HTTP answer to a refused upgrade."""
    with pytest.raises(InvalidStatus) as error:
        server.connect(path, token, **headers)
    return error.value.response


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}".encode()]


# ---- plain requests


def test_application_answers_plain_requests() -> None:
    with testing.serve(testing.gateway(application)) as server:
        assert plain(server, "POST", "/orders")[::2] == (200, "POST /orders")
        assert "challenge" in server.connect().json()


def test_plain_request_without_an_application_is_answered_with_426() -> None:
    with testing.serve(testing.gateway()) as server:
        status, headers, body = plain(server)
        assert (status, headers["Upgrade"]) == (426, "websocket")
        assert "WebSocket" in body


def test_server_that_cannot_upgrade_names_the_command() -> None:
    """On WSGI servers without WebSocket support the environ offers no upgrade."""
    said: list[str] = []
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_UPGRADE": "websocket",
        "HTTP_CONNECTION": "Upgrade",
        "HTTP_HOST": "localhost",
        "HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ==",
        "HTTP_SEC_WEBSOCKET_VERSION": "13",
    }
    gateway = testing.gateway()
    try:
        body = testing._run(lambda: b"".join(gateway(environ, lambda status, *_: said.append(status))))
    finally:
        testing._run(gateway.stop)
    assert said == ["501 Not Implemented"]
    assert b"peatio-ws run MODULE" in body


# ---- tokens of the request


@pytest.mark.parametrize("path", ["/", "/public", "/private", "/own"])
def test_a_token_that_does_not_verify_is_refused_on_every_path(path: str) -> None:
    gateway = testing.gateway()
    gateway.websocket("/own")(lambda ws: ws.send("in"))
    with testing.serve(gateway) as server:
        answer = refused(server, path, "no.token.atall")
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert b"no.token" not in (answer.body or b"")


def test_address_with_too_many_failures_has_to_wait() -> None:
    gateway = testing.gateway(WEBSOCKET_MAX_FAILURES_PER_ADDRESS="3", TRUSTED_PROXIES="127.0.0.1")
    address = {"x_forwarded_for": "203.0.113.7"}
    with testing.serve(gateway) as server:
        for _ in range(3):
            assert refused(server, "/private", "no.token.atall", **address).status_code == 401
        answer = refused(server, "/private", server.token(), **address)
        assert answer.status_code == 429
        assert 0 < int(answer.headers["Retry-After"]) <= 60
        with server.connect("/", **address) as without:
            assert "challenge" in without.json(), "a connection without a token was refused"
        with server.connect("/private", server.token(), x_forwarded_for="203.0.113.8") as other:
            assert "success" in other.json()


# ---- identities from the application


def identify(environ: Mapping[str, Any]) -> str | None:
    match environ.get("HTTP_COOKIE"):
        case None:
            return None
        case "banned":
            raise Refused("403 Forbidden", "You are banned.")
        case "bug":
            raise ZeroDivisionError(SECRET)
        case name:
            return str(name)


def known() -> Gateway:
    gateway = testing.gateway()
    gateway.websocket("/who", identify=identify)(lambda ws: ws.send(json.dumps(ws.member and ws.member.uid)))
    return gateway


def test_handler_connection_has_the_identity_given_by_the_application() -> None:
    with testing.serve(known()) as server:
        assert server.connect("/who").json() is None
        assert server.connect("/who", cookie="IDANN").json() == "IDANN"
        assert server.connect("/who", server.token("IDBOB"), cookie="IDANN").json() == "IDBOB", (
            "the token takes precedence"
        )


def test_identify_may_refuse_or_raise() -> None:
    with testing.serve(known()) as server:
        answer = refused(server, "/who", cookie="banned")
        assert (answer.status_code, answer.body) == (403, b"You are banned.\n")
        answer = refused(server, "/who", cookie="bug")
        assert answer.status_code == 500
        assert SECRET.encode() not in (answer.body or b"")


def test_page_of_another_site_cannot_use_a_cookie() -> None:
    gateway = testing.gateway(API_CORS_ORIGINS="*")
    gateway.websocket("/who", identify=identify)(lambda ws: ws.send("in"))
    with testing.serve(gateway) as server:
        assert refused(server, "/who", origin="https://elsewhere.example", cookie="IDANN").status_code == 403
        assert "challenge" in server.connect("/", origin="https://elsewhere.example").json()


# ---- handlers


def test_decorators_return_the_function_and_refuse_duplicates() -> None:
    gateway = testing.gateway()

    def handler(*_: Any) -> None: ...

    assert gateway.websocket("/a")(handler) is handler
    assert gateway.on("b")(handler) is handler
    for again in (gateway.websocket("/a/"), gateway.on("b"), gateway.on("subscribe"), gateway.websocket("no path")):
        with pytest.raises(ValueError):
            again(handler)


# ---- starting and stopping


def test_gateway_is_ready_only_while_connected_to_the_broker() -> None:
    gateway = testing.gateway()
    assert gateway.problems()
    with testing.serve(gateway):
        assert gateway.problems() == []
        testing._run(gateway.start)  # starting again has no effect
        assert gateway.problems() == []
    assert gateway.problems()


def test_stopping_ends_all_background_greenlets() -> None:
    gateway = testing.gateway()
    with testing.serve(gateway):
        background = [greenlet for greenlet in gateway._background if not greenlet.ready()]
        assert background
    assert all(greenlet.ready() for greenlet in background)


def test_a_failing_greenlet_is_supervised(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = testing.gateway()
    failures: list[None] = []
    serve_books = gateway._serve_books

    def fail_once() -> None:
        failures.append(None)
        if len(failures) == 1:
            raise RuntimeError(SECRET)
        serve_books()

    monkeypatch.setattr(gateway, "_serve_books", fail_once)
    with testing.serve(gateway) as server:
        testing._run(lambda: _until(lambda: len(failures) == 2))
        assert "challenge" in server.connect().json()


def _until(check: Callable[[], bool]) -> None:
    import gevent

    with gevent.Timeout(60):
        while not check():
            gevent.sleep(0.01)


def test_gateways_of_a_process_are_listed_while_referenced() -> None:
    gateway = testing.gateway()
    assert gateway in Gateway.instances()
    number = id(gateway)
    del gateway
    gc.collect()
    assert number not in map(id, Gateway.instances())


def test_gateways_publisher_pushes_to_its_clients() -> None:
    gateway = testing.gateway()
    assert gateway.publisher is gateway.publisher
    with testing.serve(gateway) as server:
        ann = server.member("IDANN")
        assert testing._run(lambda: gateway.publisher.to_member("IDANN", "order", {"id": 7}))
        assert ann.json()["orderbook"]["id"] == 7


def test_faulty_environment_is_reported_with_all_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in testing.environ(WEBSOCKET_PORT="http", LOG_LEVEL="loud").items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as error:
        Gateway.from_env()
    assert {str(fault).partition("=")[0] for fault in error.value.faults} == {"WEBSOCKET_PORT", "LOG_LEVEL"}


# ---- paths


def test_handler_with_parameters_and_subprotocols() -> None:
    gateway = testing.gateway()

    @gateway.websocket("/room/<name>", subprotocols=["chat.v2", "chat.v1"])
    def room(ws: Any, name: str) -> None:
        ws.send(f"{name} {ws.subprotocol}")

    with testing.serve(gateway) as server:
        for offered, agreed in (
            (["chat.v1", "chat.v2"], "chat.v1"),
            (["chat.v3", "chat.v2"], "chat.v2"),
            (["chat.v3"], None),
        ):
            client = server.connect("/room/gr%C3%BC%C3%9Fe/", subprotocols=offered)
            assert client.receive() == f"gr\u00fc\u00dfe {agreed}"
            assert client.connection.subprotocol == agreed
        client = server.connect("/room/1")
        assert client.receive() == "1 None"
        assert "challenge" in server.connect("/room", subprotocols=["chat.v1"]).json()


def test_other_paths_are_404_if_the_application_names_peatio_s() -> None:
    gateway = Gateway(Settings.from_env(testing.environ()), application, peatio_paths=["/", "/api/v2/ranger/public"])

    @gateway.websocket("/echo")
    def echo(ws: Any) -> None:
        ws.send("here")

    with testing.serve(gateway) as server:
        assert "challenge" in server.connect("/").json()
        assert "success" in server.connect("/api/v2/ranger/public/").json()
        assert server.connect("/echo").receive() == "here"
        for path in ("/public", "/echo/more", "/api/v2/ranger"):
            answer = refused(server, path)
            assert (answer.status_code, answer.body) == (404, b"No WebSocket is served at this path.\n")
        assert plain(server, path="/public")[0] == 200, "plain requests are the application's"
