"""Which part of the operator's port answers a request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from peatio_ws.server.operator_port.api import make_api
from peatio_ws.server.operator_port.application import OperatorApplication
from tests.support.openapi import TOKEN
from tests.unit.samples import settings


def ask(application: OperatorApplication, path: str) -> tuple[str, dict[str, str], Any]:
    started: list[Any] = []
    body = b"".join(application({"PATH_INFO": path, "REQUEST_METHOD": "GET"}, lambda *answer: started.append(answer)))
    ((status, headers),) = started
    assert dict(headers)["Content-Length"] == str(len(body))
    return status[:3], dict(headers), json.loads(body)


@pytest.mark.parametrize("path", ["/", "/nonsense", "/api", "/api/members", "/healthz/"])
def test_without_the_interface_there_is_only_health(path: str) -> None:
    assert ask(OperatorApplication(), path)[0] == "404"


def test_health_needs_no_token_and_the_interface_does() -> None:
    application = OperatorApplication()
    application.api = make_api(settings(ADMIN_TOKEN=TOKEN))
    assert ask(application, "/healthz")[2] == {"ok": True, "problems": [], "addresses": []}
    status, headers, found = ask(application, "/api/members")
    assert (status, headers["WWW-Authenticate"]) == ("401", "Bearer")
    assert "ADMIN_TOKEN" in found["error"]
