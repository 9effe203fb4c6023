"""The HTTP interface: every request of the document, and what becomes of failures.

tests/live/test_operator_api.py makes the requests to real gateways.
"""

from __future__ import annotations

import io
import json
import re
from typing import Any

import gevent.event
import msgspec
import pytest

from peatio_ws import testing
from peatio_ws.cluster.commands import Answer, Command, DisconnectCommand, WhoCommand, WorkerId
from peatio_ws.cluster.tracing.messages import MOST_TRACES, TraceMessage, line
from peatio_ws.errors import PublishError
from peatio_ws.monitoring.worker_reports import WorkerStatus
from peatio_ws.publisher import Publisher
from peatio_ws.server.gateway import Gateway
from peatio_ws.server.operator_port import access
from peatio_ws.server.operator_port.access import FailedTokens
from peatio_ws.server.operator_port.api import ROUTES, Api
from peatio_ws.server.operator_port.response import Response
from tests.support.openapi import DOCUMENT, TOKEN, check, validator
from tests.unit.samples import settings
from tests.unit.steered_workers import SteeredWorkers


@pytest.fixture(autouse=True)
def failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_failed", FailedTokens())


@pytest.fixture
def api(workers: SteeredWorkers) -> Api:
    return Api(settings(ADMIN_TOKEN=TOKEN, REDIS_URL="redis://localhost", AMQP_URL="memory://"), TOKEN)


def ask(api: Api, method: str, path: str, body: Any = None, token: str = TOKEN) -> tuple[int, Any]:
    """Return status and content of an answer, which has to match the document."""
    data = json.dumps(body).encode() if body is not None else b""
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path.encode().decode("latin-1"),
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_AUTHORIZATION": f"Bearer {token}",
        "wsgi.input": io.BytesIO(data),
    }
    found = api.answer(environ)
    status = int(found.status[:3])
    headers = {"Content-Type": found.kind, **dict(found.headers)}
    if status in (404, 405) and path not in DOCUMENT["paths"]:
        return status, json.loads(found.body)
    return status, check(method, path, body, status, headers, found.body)


def test_document_lists_exactly_the_requests() -> None:
    documented = {
        (method.upper(), re.sub(r"\{\w+\}", "{name}", path))
        for path, operations in DOCUMENT["paths"].items()
        for method in operations
        if method != "parameters"
    }
    assert documented == {(route.method, route.path) for route in ROUTES}


def test_commands_reach_the_workers(api: Api, workers: SteeredWorkers) -> None:
    workers.add(connections=2)
    assert ask(api, "POST", "/api/members/ANN/disconnect", {"revoke": True})[1]["closed"] == 2
    assert ask(api, "POST", "/api/notices", {"text": "hello"})[1]["sent"] == 2
    assert ask(api, "POST", "/api/drain", {"all": True, "undo": True})[1]["connections"] == 2
    assert len(ask(api, "GET", "/api/revocations")[1]["revocations"]) == 1
    assert len(ask(api, "DELETE", "/api/revocations/ANN")[1]["cancelled"]) == 1
    assert ask(api, "GET", "/api/gateways")[1]["gateways"] == []
    assert ask(api, "GET", "/api/closes")[1]["closes"] == []
    workers.workers[:] = [lambda _: [Answer(WorkerId("h", "h:1", 1), 1)]]
    assert ask(api, "POST", "/api/connections/c1/disconnect")[1]["closed"] == 1
    assert ask(api, "GET", "/api/members/Zoë")[1]["uid"] == "Zoë"
    names = [type(command).__name__ for command in workers.received]
    assert names == [
        "DisconnectCommand", "NoticeCommand", "DrainCommand", "CancelCommand", "GatewaysCommand", "ClosesCommand",
        "CloseCommand", "WhoCommand",
    ]  # fmt: skip
    assert workers.closed


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/nonsense", 404),
        ("GET", "/api/members/", 404),
        ("POST", "/api/members", 405),
        ("DELETE", "/api/revocations", 405),
    ],
)
def test_unknown_requests_are_refused(api: Api, method: str, path: str, status: int) -> None:
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "HTTP_AUTHORIZATION": f"Bearer {TOKEN}"}
    found = api.answer(environ)
    assert int(found.status[:3]) == status
    assert ("Allow" in dict(found.headers)) is (status == 405)


@pytest.mark.parametrize("uid", ["a/b", "a/disconnect", "/", "line\nend"])
def test_uid_may_have_any_character(api: Api, workers: SteeredWorkers, uid: str) -> None:
    workers.add()
    for method, path in (("GET", f"/api/members/{uid}"), ("POST", f"/api/members/{uid}/disconnect")):
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "HTTP_AUTHORIZATION": f"Bearer {TOKEN}",
            "wsgi.input": io.BytesIO(),
        }
        assert api.answer(environ).status[:3] == "200"
    assert [command.uid for command in workers.received if isinstance(command, WhoCommand | DisconnectCommand)] == [
        uid,
        uid,
    ]


def test_path_that_is_not_utf8_is_refused(api: Api) -> None:
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/api/members/\xff", "HTTP_AUTHORIZATION": f"Bearer {TOKEN}"}
    assert api.answer(environ).status[:3] == "404"


def test_failures_have_reasons(api: Api, workers: SteeredWorkers) -> None:
    assert ask(api, "GET", "/api/members", token="wrong")[0] == 401
    status, found = ask(api, "GET", "/api/members")
    assert (status, found["error"]) == (503, "no gateway received the command; are they connected to this Redis?")
    workers.error = TimeoutError("frozen")
    assert ask(api, "GET", "/api/revocations")[1]["error"].endswith("did not accept the command: frozen")
    without = Api(settings(ADMIN_TOKEN=TOKEN), TOKEN)
    status, found = ask(without, "GET", "/api/members")
    assert (status, found["error"][:23]) == (503, "REDIS_URL is not set: s")


def test_worker_answers_for_itself_without_redis(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    status = WorkerStatus("1.2", 0.0, 5, 3, ["draining"], 0.1)

    class Here:
        def execute(self, _command: Command) -> list[Answer]:
            return [Answer(WorkerId("h", "h:1", 7), 0, status=status)]

    monkeypatch.setattr(Gateway, "instances", lambda: [Here()])
    found = ask(api, "GET", "/api/worker")[1]
    assert [(one["worker"], one["problems"]) for one in found["gateways"][0]["workers"]] == [(7, ["draining"])]
    assert (found["closes"], found["refusals"]) == ([], [])


def test_worker_that_has_not_started_reports_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made = testing.gateway()
    monkeypatch.setattr(Gateway, "instances", lambda: [made])
    assert ask(api, "GET", "/api/worker")[1] == {"gateways": [], "closes": [], "refusals": []}


def test_silent_workers_are_counted(api: Api, workers: SteeredWorkers) -> None:
    workers.add()
    workers.add_silent()
    found = ask(api, "POST", "/api/notices", {"text": "hello"})[1]
    assert found["received_by"] == {"workers": 1, "gateways": 1, "silent": 1}


def test_broker_that_refuses_is_the_reason_of_a_503(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bool:
        raise PublishError("the broker did not accept the message")

    monkeypatch.setattr(Publisher, "to_stream", refuse)
    status, found = ask(api, "POST", "/api/events", {"stream": "btcusd.trades", "body": {}})
    assert (status, found["error"]) == (503, "the broker did not accept the message")


class Unfinished(io.BytesIO):
    def read(self, *_: Any) -> bytes:
        raise OSError("unexpected end of file while reading request")


class Slow(io.BytesIO):
    def read(self, *_: Any) -> bytes:
        gevent.event.Event().wait()
        return b""


@pytest.mark.parametrize(
    ("body", "text"), [(Unfinished(), "the body is incomplete"), (Slow(), "the body did not arrive within 0.01 s")]
)
def test_body_that_does_not_arrive_changes_nothing(
    api: Api, workers: SteeredWorkers, monkeypatch: pytest.MonkeyPatch, body: io.BytesIO, text: str
) -> None:
    monkeypatch.setattr("peatio_ws.server.operator_port.api.BODY_SECONDS", 0.01)
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/api/drain",
        "HTTP_AUTHORIZATION": f"Bearer {TOKEN}",
        "wsgi.input": body,
    }
    found = testing._run(lambda: api.answer(environ))
    assert (found.status[:3], json.loads(found.body)) == ("400", {"error": text})
    assert workers.received == []


# ---- traces


def trace(api: Api, query: str = "uid=ANN") -> Response:
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/api/trace",
        "QUERY_STRING": query,
        "HTTP_AUTHORIZATION": f"Bearer {TOKEN}",
        "REMOTE_ADDR": "127.0.0.1",
    }
    return api.answer(environ)


def test_trace_is_answered_line_by_line(api: Api, workers: SteeredWorkers) -> None:
    place = workers.add()
    raw = msgspec.Raw(msgspec.json.encode(line("ping", 0.0, connection="c1", by="gateway")))
    workers.reports.append(msgspec.json.encode(TraceMessage(place, "r", 0, [raw])))
    found = trace(api)
    assert (found.status, found.kind, dict(found.headers)) == (
        "200 OK", "application/x-ndjson", {"Cache-Control": "no-store"}
    )  # fmt: skip
    assert found.parts is not None
    schema = validator("components", "schemas", "TraceLine")
    for kind in ("begin", "ping"):
        given = json.loads(next(found.parts))
        assert given["kind"] == kind
        schema.validate(given)
    found.parts.close()
    assert workers.closed


@pytest.mark.parametrize(
    ("query", "status"), [("", "400"), ("uid=ANN&seconds=0", "400"), ("uid=" + "x" * 257, "400"), ("uid=ANN", "503")]
)
def test_trace_that_cannot_begin_is_an_error(api: Api, query: str, status: str) -> None:
    found = trace(api, query)
    assert found.status[:3] == status
    assert "error" in json.loads(found.body)


def test_traces_of_a_worker_are_limited(api: Api, workers: SteeredWorkers) -> None:
    workers.add()
    open_ones = [trace(api) for _ in range(MOST_TRACES)]
    for one in open_ones:
        assert one.parts is not None
        next(one.parts)
    assert trace(api).status[:3] == "503"
    assert open_ones[0].parts is not None
    open_ones[0].parts.close()
    assert trace(api).status[:3] == "200"


def test_all_workers_that_are_full_are_the_reason_of_a_503(api: Api, workers: SteeredWorkers) -> None:
    workers.add(meant=False)
    found = trace(api)
    assert found.status[:3] == "503"
    assert "each worker has 8 traces" in json.loads(found.body)["error"]
