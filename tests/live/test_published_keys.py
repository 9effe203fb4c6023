"""Keys that change while the gateway runs, from a URL and from a file, with real processes and a real issuer."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from websockets.exceptions import ConnectionClosed

from peatio_ws.auth.keys import new_private_key
from tests.support.gateway import GatewayProcess, Signer, receive
from tests.support.issuer import Issuer, issuing
from tests.support.raw_client import RawClient
from tests.support.servers import free_port, wait_until

SECONDS = 60.0
"""Time limit for noticing a change. The tests set the interval of reading to one second."""


class Issued(Signer):
    """A signing key with a key id."""

    def __init__(self, kid: str) -> None:
        self.kid, self.algorithm = kid, "RS256"
        self.key = new_private_key("RS256")

    @property
    def member(self) -> dict[str, Any]:
        public: Any = self.key.public_key()
        return {**jwt.algorithms.RSAAlgorithm.to_jwk(public, as_dict=True), "kid": self.kid, "use": "sig"}

    def token(self, uid: str, named: bool = True, **claims: Any) -> str:
        payload = jwt.decode(super().token(uid, **claims), options={"verify_signature": False})
        return jwt.encode(payload, self.key, "RS256", headers={"kid": self.kid} if named else None)


def members(*issued: Issued) -> bytes:
    return json.dumps({"keys": [one.member for one in issued]}).encode()


def answer(gateway: GatewayProcess, token: str) -> str:
    """Return `success`, `error`, or the code and reason with which the gateway closes the connection."""
    with gateway.connect() as client:
        receive(client)
        client.send(json.dumps({"jwt": f"Bearer {token}"}))
        try:
            return str(next(iter(receive(client))))
        except ConnectionClosed as closed:
            return f"{closed.rcvd.code} {closed.rcvd.reason}" if closed.rcvd else ""


def http_answer(gateway: GatewayProcess, token: str) -> tuple[int, int]:
    """Return the status of the answer to a handshake with this token, and its `Retry-After`."""
    with RawClient(gateway.port) as client:
        response = client.request({"Authorization": f"Bearer {token}"})
        return response.status, int(response.headers.get("retry-after", 0))


OLD, NEW = Issued("old"), Issued("new")


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing(members(OLD)) as issuer:
        yield issuer


@pytest.fixture(params=["url", "file"])
def publish(request: pytest.FixtureRequest, tmp_path: Path, issuer: Issuer) -> Callable[[bytes], dict[str, str]]:
    """Publish a key set. Returns the variables of a gateway that reads it."""
    path = tmp_path / "keys.json"

    def change(body: bytes) -> dict[str, str]:
        if request.param == "url":
            issuer.body = body
            return {"JWT_JWKS_URL": issuer.url}
        path.write_bytes(body)
        return {"JWT_JWKS_FILE": str(path)}

    return change


@pytest.fixture
def start_alone(tmp_path: Path) -> Iterator[Callable[..., GatewayProcess]]:
    """Start gateways on the in-process broker."""
    running: list[GatewayProcess] = []

    def start(wait: bool = True, **environ: str) -> GatewayProcess:
        environment = {"AMQP_URL": "memory://", "JWT_JWKS_REFRESH": "1", **environ}
        running.append(GatewayProcess(tmp_path, environment, wait=wait))
        return running[-1]

    yield start
    for gateway in running:
        gateway.stop()


def test_added_key_is_accepted_and_removed_key_is_refused(
    start_alone: Callable[..., GatewayProcess], publish: Callable[[bytes], dict[str, str]]
) -> None:
    gateway = start_alone(**publish(members(OLD)))
    assert answer(gateway, OLD.token("ID1")) == "success"
    assert answer(gateway, NEW.token("ID1")) == "error"
    with gateway.member(OLD.token("ID1")) as stays:
        publish(members(OLD, NEW))
        wait_until(lambda: answer(gateway, NEW.token("ID1")) == "success", "the new key is accepted", SECONDS, 0.1)
        assert answer(gateway, OLD.token("ID1")) == "success"
        publish(members(NEW))
        wait_until(lambda: answer(gateway, OLD.token("ID1")) == "error", "the old key is refused", SECONDS, 0.1)
        assert answer(gateway, OLD.token("ID1", named=False)) == "error"
        assert answer(gateway, NEW.token("ID1", named=False)) == "success"
        assert stays.ping().wait(SECONDS)  # connected clients stay connected
    refused = [event["reason"] for event in gateway.events() if event["event"] == "token refused"]
    assert set(refused) == {"kid names an unknown key", "signature does not match the key"}
    said = gateway.log()
    assert OLD.token("ID1").partition(".")[0] not in said
    assert OLD.member["n"] not in said


def test_gateway_without_keys_starts_and_is_not_ready(
    start_alone: Callable[..., GatewayProcess], issuer: Issuer
) -> None:
    port = free_port()
    gateway = start_alone(wait=False, JWT_JWKS_URL=f"http://127.0.0.1:{port}/keys?secret=sesame")
    wait_until(lambda: "Connection refused" in gateway.operators("/readyz")[1], "reported by /readyz", SECONDS, 0.05)
    status, body = gateway.operators("/readyz")
    assert status == 503
    assert json.loads(body)["problems"] == [
        f"no key to verify tokens: JWT_JWKS_URL=http://127.0.0.1:{port}/keys: Connection refused"
    ]
    assert gateway.operators("/healthz")[0] == 200
    text = "no key to verify this token with yet; retry after "
    assert re.fullmatch(rf"1013 {text}\d+", answer(gateway, OLD.token("ID1"))), "the answer says that the token failed"
    status, later = http_answer(gateway, OLD.token("ID1"))
    assert (status, later > 0) == (503, True)
    gateway.stop()
    warned = [event for event in gateway.events() if event["event"].startswith("published keys cannot be read")]
    assert len(warned) == 1
    assert "sesame" not in gateway.log()


def test_silent_issuer_delays_only_the_start(start_alone: Callable[..., GatewayProcess], issuer: Issuer) -> None:
    issuer.held = True
    gateway = start_alone(wait=False, JWT_JWKS_URL=issuer.url)
    wait_until(lambda: gateway.operators("/readyz")[0] == 503, "not ready", SECONDS, 0.05)
    issuer.held = False
    gateway.wait_ready()
    assert answer(gateway, OLD.token("ID1")) == "success"
    requests = issuer.requests
    issuer.held = True
    wait_until(lambda: issuer.requests > requests, "the gateway requests the keys again", SECONDS, 0.05)
    assert answer(gateway, OLD.token("ID1")) == "success"
    assert gateway.operators("/readyz")[0] == 200


def test_fixed_key_is_used_together_with_published_ones(
    start_alone: Callable[..., GatewayProcess], signer: Signer, issuer: Issuer
) -> None:
    gateway = start_alone(JWT_JWKS_URL=issuer.url, JWT_PUBLIC_KEY=signer.environ["JWT_PUBLIC_KEY"])
    assert [answer(gateway, token) for token in (OLD.token("ID1"), signer.token("ID2"))] == ["success", "success"]
    assert answer(gateway, NEW.token("ID1")) == "error"


def test_worker_waits_until_a_broken_key_file_is_repaired(
    start_alone: Callable[..., GatewayProcess], tmp_path: Path
) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(members(OLD))
    gateway = start_alone(JWT_JWKS_FILE=str(path))
    path.write_text("half of")
    os.kill(gateway.workers()[0], signal.SIGKILL)
    wait_until(lambda: "is not JSON" in gateway.operators("/readyz")[1], "reported by /readyz", SECONDS, 0.05)
    path.write_bytes(members(NEW))
    gateway.wait_ready()
    assert answer(gateway, NEW.token("ID1")) == "success"


def test_unknown_key_id_makes_the_gateway_read_the_set_again(
    start_alone: Callable[..., GatewayProcess], issuer: Issuer
) -> None:
    gateway = start_alone(JWT_JWKS_URL=issuer.url, JWT_JWKS_REFRESH="86400")
    issuer.body = members(OLD, NEW)
    wait_until(
        lambda: answer(gateway, NEW.token("ID1")) == "success", "the set is read because of this token", SECONDS, 0.5
    )
    refused = [event for event in gateway.events() if event["event"] == "token cannot be verified yet"]
    assert {(event["reason"], event["retry_after"]) for event in refused} == {("kid names an unknown key", 1)}
