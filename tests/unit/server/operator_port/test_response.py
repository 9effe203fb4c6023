"""Answers as JSON."""

from __future__ import annotations

from peatio_ws.server.operator_port.response import Response, error, json_response


def test_content_is_encoded_as_json() -> None:
    assert json_response("200 OK", {"a": [1.5]}, ("A", "b")) == Response(
        "200 OK", b'{"a":[1.5]}', "application/json", (("A", "b"),)
    )
    assert error("404 Not Found", "missing").body == b'{"error":"missing"}'
