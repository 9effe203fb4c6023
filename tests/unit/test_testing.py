"""`peatio_ws.testing`, with handlers in a process that gevent has not patched."""

from __future__ import annotations

import gc
import os
import threading
import urllib.request
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from gevent import monkey
from websockets.exceptions import ConnectionClosed, InvalidStatus

from peatio_ws import testing
from peatio_ws.auth.signing import session_token
from peatio_ws.config.misspelt_variables import KNOWN
from peatio_ws.config.settings import Settings
from peatio_ws.errors import ConfigurationError


def test_nothing_is_patched_here() -> None:
    """Otherwise the other tests would prove little."""
    assert not monkey.is_module_patched("socket")


def test_gateway_can_be_served_repeatedly() -> None:
    gateway = testing.gateway()

    @gateway.on("deposit")
    def deposit(session: Any, message: dict[str, Any]) -> None:
        gateway.publisher.to_member(session.uid, "order", {"id": message["id"]})

    for number in range(3):
        with testing.serve(gateway) as server:
            ann, bob = server.member("IDANN", member_id=number), server.member("IDBOB")
            ann.send({"event": "deposit", "id": number})
            assert ann.json()["orderbook"]["id"] == number
            server.publisher.to_member("IDBOB", "order", {"id": -1})
            assert bob.json()["orderbook"]["id"] == -1
            with pytest.raises(TimeoutError):
                ann.receive(timeout=0.01)
    with pytest.raises(ConnectionClosed):
        ann.receive()


def test_application_that_mounts_a_gateway_is_served() -> None:
    gateway = testing.gateway()

    @gateway.websocket("/echo")
    def echo(ws: Any) -> None:
        for message in ws:
            ws.send(message)

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Mount the gateway at /live, as a dispatcher does."""
        assert environ["PATH_INFO"].startswith("/live/")
        return gateway({**environ, "SCRIPT_NAME": "/live", "PATH_INFO": environ["PATH_INFO"][5:]}, start_response)

    with testing.serve(application) as server, server.connect("/live/echo/?a=b") as client:
        client.send(b"\x00")
        assert client.receive() == b"\x00"


def test_handlers_share_memory_and_fail_with_a_close_code() -> None:
    gateway, seen = testing.gateway(), list[Any]()

    @gateway.websocket("/")
    def fails(ws: Any) -> None:
        seen.append((ws.environ["HTTP_X_NAME"], ws.receive(), threading.current_thread().name))
        raise RuntimeError("a secret")

    with testing.serve(gateway) as server:
        client = server.connect(x_name="value")
        client.send({"a": 1})
        assert client.closed() == (1011, "internal error")
    assert seen == [("value", '{"a": 1}', "peatio_ws.testing")]


def test_tokens_are_accepted_by_the_gateway() -> None:
    gateway = testing.gateway(JWT_ISSUER="barong")
    with testing.serve(gateway) as server:
        with pytest.raises(InvalidStatus):
            server.connect("/private", token=server.token())
        with pytest.raises(InvalidStatus):
            server.connect("/private", token=server.token(iss="barong", expires=-1))
        ann = server.connect("/private?stream=order", token=server.token("IDANN", iss="barong"))
        assert ann.json() == {"success": {"message": "subscribed", "streams": ["order"]}}
        with pytest.raises(AssertionError, match="Authentication failed"):
            server.member()


def test_key_of_the_application_replaces_the_key_of_the_test() -> None:
    secret = "a-secret-of-32-characters-or-more"
    own = session_token("IDANN", 60, {}, secret.encode(), "HS256")
    refusal = {"error": {"message": "Authentication failed."}}
    for variables, accepted in ({}, False), ({"JWT_ALGORITHM": "HS256", "JWT_PUBLIC_KEY": secret}, True):
        with testing.serve(testing.gateway(**variables)) as server:
            for token, success in (own, accepted), (server.token("IDANN"), not accepted):
                client = server.connect()
                assert "challenge" in client.json()
                client.send({"jwt": f"Bearer {token}"})
                assert (client.json() != refusal) is success


def test_faults_of_its_variables_are_reported() -> None:
    with pytest.raises(ConfigurationError, match="WEBSOCKET_PORT"):
        testing.gateway(WEBSOCKET_PORT="many")


def test_variables_of_the_shell_do_not_reach_the_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would end in a start that hangs, refused tokens, or faults that are not the test's."""
    plain = Settings.from_env(testing.environ(ADMIN_TOKEN="a-token-of-32-characters-or-more!"))
    for name in KNOWN:
        monkeypatch.setenv(name, "7")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("RANGO_RBAC_ADMIN", "superadmin")
    with pytest.raises(ConfigurationError):
        Settings.from_env()
    for name, value in testing.environ(ADMIN_TOKEN="a-token-of-32-characters-or-more!").items():
        monkeypatch.setenv(name, value)
    assert Settings.from_env().model_dump(exclude={"given"}) == plain.model_dump(exclude={"given"})
    assert os.environ["WEB_CONCURRENCY"] == "1", "gunicorn would fail with an empty one"


def test_start_that_does_not_become_ready_names_its_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = testing.gateway(JWT_PUBLIC_KEY="", JWT_ALGORITHM="", JWT_JWKS_URL="http://127.0.0.1:1/keys")
    monkeypatch.setattr(testing, "START_SECONDS", 0.1)
    with pytest.raises(TimeoutError, match=r"not ready within 0.1 s: \w+"), testing.serve(gateway):
        pass


def test_gateways_of_earlier_tests_are_not_started() -> None:
    def page(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [b""]

    def earlier_test() -> None:
        gateway = testing.gateway(JWT_PUBLIC_KEY="", JWT_ALGORITHM="", JWT_JWKS_URL="http://127.0.0.1:1/keys")
        cycle: list[object] = [gateway]
        cycle.append(cycle)

    gc.disable()  # otherwise it may be collected before
    try:
        earlier_test()
        with testing.serve(page) as server, urllib.request.urlopen(f"http://127.0.0.1:{server.port}/") as answer:
            assert answer.status == 200
    finally:
        gc.enable()


def test_unread_messages_are_reported_at_the_end_of_a_test() -> None:
    with testing.serve(testing.gateway()) as server, pytest.raises(AssertionError, match="challenge"):
        server.connect().closed()
