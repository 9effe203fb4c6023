"""The operator's HTTP interface of two gateways with two workers each, compared with docs/openapi.yaml."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from peatio_ws.version import VERSION
from tests.support.gateway import WAIT, GatewayProcess, Signer, receive
from tests.support.openapi import DOCUMENT, TOKEN, ask
from tests.support.servers import RabbitMQ, Redis, wait_until

ALL = {"workers": 4, "gateways": 2, "silent": 0}


@pytest.fixture(scope="module")
def gateways(folder: Path, broker: RabbitMQ, own_redis: Redis, signer: Signer) -> Iterator[list[GatewayProcess]]:
    environ = {
        "AMQP_URL": broker.url,
        "REDIS_URL": own_redis.url,
        **signer.environ,
        "WEBSOCKET_DRAIN_SECONDS": "0.5",
        "WEB_CONCURRENCY": "2",
        "ADMIN_TOKEN": TOKEN,
    }
    started = [GatewayProcess(folder, environ, wait=False) for _ in range(2)]
    for gateway in started:
        gateway.wait_ready()
    yield started
    for gateway in started:
        gateway.stop()


def close_code(client: ClientConnection) -> int:
    with pytest.raises(ConnectionClosed) as closed:
        client.recv(timeout=WAIT)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


def is_accepted(gateway: GatewayProcess, token: str) -> bool:
    with gateway.connect() as client:
        receive(client)
        client.send(json.dumps({"jwt": f"Bearer {token}"}))
        return "success" in receive(client)


def test_document_is_valid() -> None:
    validate(DOCUMENT)


def test_gateways_report_their_workers(gateways: list[GatewayProcess]) -> None:
    status, found = ask(gateways[1], "GET", "/api/gateways")
    assert (status, found["received_by"]) == (200, ALL)
    host = os.uname().nodename
    assert [one["gateway"] for one in found["gateways"]] == sorted(f"{host}:{one.port}" for one in gateways)
    workers = {one["worker"]: one for gateway in found["gateways"] for one in gateway["workers"]}
    assert set(workers) == {*gateways[0].workers(), *gateways[1].workers()}
    assert {(one["version"], one["ready"]) for one in workers.values()} == {(VERSION, True)}


def test_members_are_listed_with_streams(gateways: list[GatewayProcess], signer: Signer) -> None:
    bearer = {"Authorization": f"Bearer {signer.token('IDBOB')}"}
    with (
        gateways[0].member(signer.token("IDANN")),
        gateways[1].connect("private?stream=order&stream=btcusd.trades", additional_headers=bearer) as bob,
        gateways[0].connect("public?stream=btcusd.trades") as anonymous,
    ):
        receive(bob), receive(anonymous)
        status, found = ask(gateways[0], "GET", "/api/members")
        assert (status, found["anonymous"], found["received_by"]) == (200, 1, ALL)
        assert [(one["uid"], one["connections"]) for one in found["members"]] == [("IDANN", 1), ("IDBOB", 1)]
        _, found = ask(gateways[0], "GET", "/api/members/IDBOB")
        (connection,) = found["connections"]
        assert connection["streams"] == ["order", "btcusd.trades"]
        assert connection["worker"] in gateways[1].workers()
        assert ask(gateways[0], "GET", "/api/members/İD nobody")[1]["connections"] == []


def test_members_are_disconnected_revoked_and_accepted_again(gateways: list[GatewayProcess], signer: Signer) -> None:
    token, stolen = signer.token("IDCAT"), signer.token("IDCAT", jti="stolen")
    first, second = gateways
    with first.member(token) as one, second.member(token) as two:
        status, found = ask(first, "POST", "/api/members/IDCAT/disconnect")
        assert (status, found) == (200, {"closed": 2, "revoked": None, "received_by": ALL})
        assert close_code(one) == close_code(two) == 4403
    with second.member(stolen) as thief, second.member(token):
        _, found = ask(first, "POST", "/api/members/IDCAT/disconnect", {"revoke": True, "jti": "stolen"})
        assert (found["closed"], found["revoked"]["jti"]) == (1, "stolen")
        assert close_code(thief) == 4403
        _, found = ask(second, "POST", "/api/members/IDCAT/disconnect", {"revoke": True})
        assert (found["closed"], found["revoked"]["jti"]) == (1, None)
    assert not is_accepted(first, token)
    _, found = ask(first, "GET", "/api/revocations")
    assert [(one["uid"], one["jti"]) for one in found["revocations"]] == [("IDCAT", None), ("IDCAT", "stolen")]
    status, found = ask(second, "DELETE", "/api/revocations/IDCAT")
    assert (status, len(found["cancelled"]), found["received_by"]) == (200, 1, ALL)
    assert ask(second, "DELETE", "/api/revocations/IDCAT")[0] == 404
    assert [is_accepted(gateway, token) for gateway in gateways for _ in range(2)] == [True] * 4
    assert not is_accepted(second, stolen), "a token that was revoked by its id stays revoked"
    assert ask(first, "DELETE", "/api/revocations/stolen")[0] == 200
    assert is_accepted(second, stolen)
    assert ask(first, "GET", "/api/revocations")[1] == {"revocations": []}


def test_silent_worker_is_reported_and_receives_an_undo_later(gateways: list[GatewayProcess], signer: Signer) -> None:
    token = signer.token("IDDAN")
    first, second = gateways
    assert ask(first, "POST", "/api/members/IDDAN/disconnect", {"revoke": True})[0] == 200
    stopped = second.workers()[0]
    os.kill(stopped, signal.SIGSTOP)
    try:
        status, found = ask(first, "DELETE", "/api/revocations/IDDAN")
        assert (status, found["received_by"]) == (200, {**ALL, "workers": 3, "silent": 1})
    finally:
        os.kill(stopped, signal.SIGCONT)
    wait_until(lambda: ask(first, "GET", "/api/gateways")[1]["received_by"] == ALL, "the worker answers again")
    assert [is_accepted(gateway, token) for gateway in gateways for _ in range(4)] == [True] * 8
    assert ask(first, "GET", "/api/revocations")[1] == {"revocations": []}


def test_notices_and_events_reach_clients(gateways: list[GatewayProcess], signer: Signer) -> None:
    with gateways[0].connect("private?stream=order&notices=1", **_bearer(signer, "IDANN")) as ann:
        receive(ann)
        status, found = ask(gateways[1], "POST", "/api/notices", {"text": "maintenance", "uid": "IDANN"})
        assert (status, found) == (200, {"sent": 1, "received_by": ALL})
        assert receive(ann) == {"notice": {"message": "maintenance"}}
        raw = b'{"uid":"IDANN","event":"balance","body":{"amount": 9120.50}}'
        with gateways[0].connect("private?stream=balance&stream=btcusd.trades", **_bearer(signer, "IDANN")) as client:
            receive(client)
            assert ask(gateways[1], "POST", "/api/events", raw=raw) == (200, {"received": True})
            assert client.recv(timeout=WAIT) == '{"balance":{"amount": 9120.50}}', "not byte for byte"
            event = {"stream": "btcusd.trades", "body": {"trades": []}}
            assert ask(gateways[1], "POST", "/api/events", event) == (200, {"received": True})
            assert receive(client) == {"btcusd.trades": {"trades": []}}


def _bearer(signer: Signer, uid: str) -> dict[str, Any]:
    return {"additional_headers": {"Authorization": f"Bearer {signer.token(uid)}"}}


def test_gateway_is_drained_from_another_one(gateways: list[GatewayProcess], signer: Signer) -> None:
    first, second = gateways
    name = f"{os.uname().nodename}:{first.port}"
    half = {"workers": 2, "gateways": 1, "silent": 0}
    with first.member(signer.token("IDANN")) as ann:
        assert ask(second, "POST", "/api/drain", {"host": name}) == (200, {"connections": 1, "received_by": half})
        assert close_code(ann) == 1012
    _, found = ask(first, "GET", "/api/gateways")
    problems = {one["gateway"]: {str(worker["problems"]) for worker in one["workers"]} for one in found["gateways"]}
    assert problems == {name: {"['draining']"}, f"{os.uname().nodename}:{second.port}": {"[]"}}
    assert ask(first, "POST", "/api/drain", {"host": name, "undo": True})[0] == 200
    first.wait_ready()
    status, found = ask(first, "POST", "/api/drain", {"host": "elsewhere"})
    assert status == 404
    assert "no gateway is called elsewhere" in found["error"]


@pytest.mark.parametrize(
    ("method", "path", "body", "text"),
    [
        ("POST", "/api/members/IDANN/disconnect", b'{"revok":true}', "revok"),
        ("POST", "/api/members/IDANN/disconnect", b"{", "truncated"),
        ("POST", "/api/notices", b"", "text"),
        ("POST", "/api/notices", b'{"text":""}', "$.text"),
        ("POST", "/api/drain", b"{}", "either"),
        ("POST", "/api/drain", b'{"all":true,"host":"a"}', "either"),
        ("POST", "/api/events", b'{"uid":"A","body":1}', "either"),
        ("POST", "/api/events", b'{"stream":"foo","body":1}', "not a public or prefixed stream"),
        ("POST", "/api/events", b'{"uid":"A","event":"a.b","body":1}', "not a name of a private event"),
        ("GET", "/api/members/" + "x" * 257, None, "1 to 256 characters"),
    ],
)
def test_invalid_request_is_answered_with_the_fault(
    gateways: list[GatewayProcess], method: str, path: str, body: bytes | None, text: str
) -> None:
    status, found = ask(gateways[0], method, path, raw=body)
    assert status == 400
    assert text in found["error"]


def test_large_body_is_refused(gateways: list[GatewayProcess]) -> None:
    raw = b'{"text":"' + b"x" * 65_536 + b'"}'
    text = "the body is chunked, or has more than 65,536 bytes"
    assert ask(gateways[0], "POST", "/api/notices", raw=raw) == (413, {"error": text})


def test_log_has_requests_but_no_token_or_text(gateways: list[GatewayProcess]) -> None:
    assert ask(gateways[0], "POST", "/api/notices", {"text": "a text that nobody may see"})[0] == 200
    lines = [line for line in gateways[0].events() if line["event"] == "operator request"]
    request = {"method": "POST", "path": "/api/notices", "status": 200, "address": "127.0.0.1"}
    assert request.items() <= lines[-1].items()
    for gateway in gateways:
        assert TOKEN not in gateway.log()
        assert "a text that nobody may see" not in gateway.log()


def test_redis_that_is_down_is_the_reason_of_a_503(gateways: list[GatewayProcess], own_redis: Redis) -> None:
    own_redis.kill()
    try:
        for method, path, body in (
            ("GET", "/api/members", None),
            ("POST", "/api/members/IDANN/disconnect", {"revoke": True}),
            ("DELETE", "/api/revocations/IDANN", None),
            ("POST", "/api/notices", {"text": "maintenance"}),
        ):
            status, found = ask(gateways[0], method, path, body)
            assert status == 503
            assert found["error"].startswith("Redis at 127.0.0.1:")
        event = {"uid": "IDANN", "event": "balance", "body": 1}
        assert ask(gateways[0], "POST", "/api/events", event)[0] == 200, "publishing needs no Redis"
    finally:
        own_redis.start()
    wait_until(lambda: ask(gateways[0], "GET", "/api/members")[0] == 200, "Redis is used again")


def test_wrong_token_is_refused_and_then_the_address(gateways: list[GatewayProcess]) -> None:
    """The last test, because the address stays locked out of this gateway for a minute."""
    attempts = [None, "", TOKEN[:-1], TOKEN + "x", "é" * 32]
    answers = [ask(gateways[1], "GET", "/api/members", token=token) for token in attempts * 2]
    assert {status for status, _ in answers} == {401}
    status, found = ask(gateways[1], "GET", "/api/members")
    assert status == 429, "the right token is not tried either, whichever worker is asked"
    assert "too many requests with a wrong token" in found["error"]
    assert gateways[1].operators("/readyz")[0] == 200
    assert ask(gateways[0], "GET", "/api/members")[0] == 200, "another gateway counts for itself"


def test_without_a_token_there_is_no_interface(gateway: GatewayProcess) -> None:
    for path in ("/api/members", "/api/gateways"):
        assert gateway.operators(path)[0] == 404
    request = urllib.request.Request(
        f"http://127.0.0.1:{gateway.metrics_port}/api/drain", b'{"all":true}', {"Authorization": "Bearer "}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=WAIT)
    refused.value.close()
    assert refused.value.code == 404
