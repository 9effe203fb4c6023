"""Whose a token is, or why a request with it is refused."""

from __future__ import annotations

from typing import Any, cast

import pytest

from peatio_ws import testing
from peatio_ws.auth.identity import Identity
from peatio_ws.errors import Delay, Refused, TryLater
from peatio_ws.server.connections.identification import identify_request, verify_token
from peatio_ws.server.routes import Route

ANN = Identity("IDANN", 7, "trader", 2e9)


class Tokens:
    """An authenticator that knows one token, and may be over a limit or without a key."""

    def __init__(self, locked: bool = False, keyless: bool = False) -> None:
        self._locked, self._keyless = locked, keyless

    def check_address(self, _address: str) -> None:
        if self._locked:
            raise TryLater(Delay.TOO_MANY_FAILURES, 9)

    def verify(self, token: str, _connection: str, _address: str) -> Identity | None:
        if self._keyless:
            raise TryLater(Delay.NO_KEY, 9)
        return ANN if token == "ann's" else None


def test_token_is_accepted_or_refused() -> None:
    found: Any = Tokens()
    assert verify_token(found, "ann's", "id", "192.0.2.1") == ANN
    assert verify_token(found, "other", "id", "192.0.2.1") is None


@pytest.mark.parametrize(("found", "status"), [(Tokens(locked=True), 429), (Tokens(keyless=True), 503)])
def test_token_that_cannot_be_verified_yet_is_answered_with_a_time(found: Any, status: int) -> None:
    with pytest.raises(Refused) as refused:
        verify_token(found, "ann's", "id", "192.0.2.1")
    assert refused.value.code == status
    assert dict(refused.value.headers)["Retry-After"] == "9"


def route(answer: object) -> Route:
    def identify(_environ: dict[str, Any]) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Route("/who", lambda ws: None, identify)


def test_identify_gives_a_member_by_uid_or_identity() -> None:
    assert identify_request(Route("/who", lambda ws: None), {}) is None
    assert identify_request(route(None), {}) is None
    assert identify_request(route(ANN), {}) is ANN
    found = identify_request(route("IDBOB"), {})
    assert found is not None
    assert (found.uid, found.role) == ("IDBOB", "")


def test_role_of_a_cookie_member_allows_its_prefixed_streams() -> None:
    """Without a token, the application says which role a member has."""
    gateway = testing.gateway(RANGO_RBAC_NOTES="member,staff")

    def by_cookie(environ: dict[str, Any]) -> Identity | str:
        uid, _, role = environ["HTTP_COOKIE"].removeprefix("session=").partition("/")
        return Identity(uid, role=role) if role else str(uid)

    @gateway.websocket("/notes", identify=by_cookie)
    def notes(ws: Any) -> None:
        ws.subscribe("notes.x1.note")
        ws.send(f"{ws.member.uid} {ws.member.role} {ws.member.expires}")
        ws.receive()

    with testing.serve(gateway) as server:
        ann = server.connect("/notes", cookie="session=IDANN/staff")
        assert ann.receive() == "IDANN staff inf"
        server.publisher.to_stream("notes.x1.note", {"text": "hello"})
        assert ann.json() == {"x1.note": {"text": "hello"}}
        for cookie in ("session=IDBOB", "session=IDBOB/guest"):
            assert server.connect("/notes", cookie=cookie).closed() == (1008, "cannot subscribe to notes.x1.note")


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("", 500),
        (7, 500),
        (" ", 500),
        ("ID\ud83d", 500),
        ("x" * 246, 500),
        (Identity(""), 500),
        (Identity("IDANN", role=cast(str, None)), 500),
        (("IDANN", "member"), 500),
        (KeyError("x"), 500),
        (Refused("403 No", "x"), 403),
    ],
)
def test_identify_that_fails_or_refuses_is_answered(answer: object, status: int) -> None:
    with pytest.raises(Refused) as refused:
        identify_request(route(answer), {})
    assert refused.value.code == status


def test_verified_cookie_of_a_locked_address_is_answered_with_429() -> None:
    gateway = testing.gateway(WEBSOCKET_MAX_FAILURES_PER_ADDRESS="1")
    environ = {"REMOTE_ADDR": "192.0.2.1"}
    assert gateway.verify("nonsense", environ) is None
    with pytest.raises(Refused) as refused:
        gateway.verify("nonsense", environ)
    assert refused.value.code == 429
