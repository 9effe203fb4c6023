"""Which part of the operator's port answers a request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from peatio_ws.server.operator_port.api import Api
from peatio_ws.server.operator_port.application import OperatorApplication
from peatio_ws.server.operator_port.response import Response
from tests.support.openapi import TOKEN
from tests.unit.samples import settings


def ask_raw(application: OperatorApplication, path: str, method: str = "GET") -> tuple[str, dict[str, str], bytes]:
    started: list[Any] = []
    body = b"".join(application({"PATH_INFO": path, "REQUEST_METHOD": method}, lambda *answer: started.append(answer)))
    ((status, headers),) = started
    return status[:3], dict(headers), body


def ask(application: OperatorApplication, path: str) -> tuple[str, dict[str, str], Any]:
    status, headers, body = ask_raw(application, path)
    assert headers["Content-Length"] == str(len(body))
    return status, headers, json.loads(body)


@pytest.mark.parametrize("path", ["/", "/page/operator.mjs", "/nonsense", "/api", "/api/members", "/healthz/"])
def test_without_the_interface_there_is_only_health(path: str) -> None:
    assert ask(OperatorApplication(), path)[0] == "404"


def test_health_needs_no_token_and_the_interface_does() -> None:
    application = OperatorApplication()
    application.api = Api(settings(ADMIN_TOKEN=TOKEN), TOKEN)
    assert ask(application, "/healthz")[2] == {"ok": True, "problems": [], "addresses": []}
    status, headers, found = ask(application, "/api/members")
    assert (status, headers["WWW-Authenticate"]) == ("401", "Bearer")
    assert "ADMIN_TOKEN" in found["error"]


def test_page_is_served_where_the_interface_is() -> None:
    application = OperatorApplication()
    application.api = Api(settings(ADMIN_TOKEN=TOKEN), TOKEN)
    status, headers, body = ask_raw(application, "/")
    assert (status, headers["Content-Type"]) == ("200", "text/html; charset=utf-8")
    assert body.startswith(b"<!doctype html>")
    assert ask_raw(application, "/", "HEAD") == ("200", headers, b"")
    assert headers["Content-Length"] == str(len(body))
    assert ask_raw(application, "/page/operator.mjs")[0] == "200"
    assert ask(application, "/nonsense")[0] == "404"


def test_answer_in_parts_has_no_length() -> None:
    class Streaming:
        def answer(self, environ: dict[str, Any]) -> Response:
            return Response("200 OK", kind="application/x-ndjson", parts=(part for part in (b"1\n", b"2\n")))

    application, started = OperatorApplication(), list[Any]()
    application.api = Streaming()  # type: ignore[assignment]
    environ = {"PATH_INFO": "/api/trace", "REQUEST_METHOD": "GET"}
    assert list(application(environ, lambda *answer: started.append(answer))) == [b"1\n", b"2\n"]
    assert started == [("200 OK", [("Content-Type", "application/x-ndjson")])]
