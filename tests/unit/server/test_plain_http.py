"""Plain HTTP to a gateway without an application."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from peatio_ws import testing


def ask(server: testing.Server, path: str, method: str) -> tuple[int, bytes]:
    url = f"http{server.url.removeprefix('ws')}{path}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=testing.WAIT) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.mark.parametrize("console", ["false", "true"])
def test_rangers_health_check_is_answered(console: str) -> None:
    with testing.serve(testing.gateway(WEBSOCKET_CONSOLE=console)) as server:
        assert ask(server, "/healthcheck", "GET") == (200, b"OK\n")
        assert ask(server, "/healthcheck", "HEAD") == (200, b"")
        assert ask(server, "/healthcheck?x=1", "GET")[0] == 200
        assert ask(server, "/healthcheck", "POST")[0] == 426
        assert ask(server, "/healthcheck/more", "GET")[0] == 426
        assert server.connect("/healthcheck").json().keys() == {"challenge"}


def test_an_application_behind_the_gateway_has_its_own_health_check() -> None:
    def app(environ, start_response):  # type: ignore[no-untyped-def]
        start_response("503 Service Unavailable", [("Content-Length", "0")])
        return []

    with testing.serve(testing.gateway(app)) as server:
        assert ask(server, "/healthcheck", "GET")[0] == 503
