"""The simulated exchange for its clients: its tokens and handlers, which a real exchange does not have."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from peatio_ws.auth.verifier import Verifier
from peatio_ws.config.settings import Settings
from peatio_ws.config.urls import EMBEDDED_BROKER
from peatio_ws.errors import AuthenticationError, ClientError, ConfigurationError
from peatio_ws.server.gateway import Gateway
from peatio_ws.simulator.demo import Demo
from peatio_ws.simulator.simulation import MEMBER, MEMBER_ID
from tests.unit.samples import environment

ORDER = {"event": "place_order", "market": "btcusd", "side": "buy", "price": "9000.5", "volume": "0.25"}
SIMULATED = {"AMQP_URL": EMBEDDED_BROKER, "WEBSOCKET_SIMULATION": "true"}


def settings(**variables: str) -> Settings:
    return Settings.from_env(environment(**SIMULATED, **variables))


class Session:
    """What a handler is given."""

    def __init__(self, uid: str | None = "IDANN") -> None:
        self.uid, self.replies = uid, list[Any]()
        self.member = SimpleNamespace(uid=uid) if uid else None

    def reply(self, message: object) -> None:
        self.replies.append(message)


# ---- tokens


@pytest.mark.parametrize("algorithm", ["RS256", "HS256"])
def test_demo_tokens_and_tokens_of_given_keys_are_accepted(algorithm: str) -> None:
    more = {"JWT_ALGORITHM": "HS256", "JWT_PUBLIC_KEY": "s" * 32} if algorithm == "HS256" else {}
    given = settings(JWT_AUDIENCE="peatio,other", JWT_ISSUER="barong", **more)
    shown = Demo(given)
    identity = Verifier(shown.settings.token_rules).verify(shown.token(), time.time())
    assert (identity.uid, identity.member_id, identity.role) == (MEMBER, MEMBER_ID, "member")
    assert shown.settings.jwt_keys[:-1] == given.jwt_keys


def test_its_key_is_its_own() -> None:
    """A token of one process is not valid for another, nor for a gateway with the same settings."""
    given = settings()
    token = Demo(given).token()
    for other in (given, Demo(given).settings):
        with pytest.raises(AuthenticationError):
            Verifier(other.token_rules).verify(token, time.time())


def test_simulation_is_refused_with_a_real_broker() -> None:
    with pytest.raises(ConfigurationError, match="never for a real exchange"):
        Settings.from_env(environment(AMQP_URL="amqp://host", WEBSOCKET_SIMULATION="true"))


# ---- orders


def test_an_order_is_placed_and_cancelled() -> None:
    events, session = Demo(settings()).events, Session()
    events["place_order"](session, dict(ORDER))
    number = session.replies[0]["success"]["order_id"]
    events["cancel_order"](session, {"event": "cancel_order", "id": number})
    assert session.replies == [
        {"success": {"message": "Order placed.", "order_id": number}},
        {"success": {"message": "Order cancelled.", "order_id": number}},
    ]


def test_an_address_is_requested_for_a_currency_that_has_them() -> None:
    events, session = Demo(settings()).events, Session()
    events["create_deposit_address"](session, {"currency": "btc"})
    assert session.replies == [{"success": {"message": "Address requested."}}]
    with pytest.raises(ClientError, match="the only currency with addresses is btc"):
        events["create_deposit_address"](session, {"currency": "usd"})


@pytest.mark.parametrize("event", ["place_order", "cancel_order", "create_deposit_address"])
def test_trading_needs_a_token(event: str) -> None:
    session = Session(None)
    with pytest.raises(ClientError, match="Not authenticated"):
        Demo(settings()).events[event](session, dict(ORDER))
    assert not session.replies


def test_invalid_order_is_answered_with_a_reason() -> None:
    with pytest.raises(ClientError, match="side: use sell or buy"):
        Demo(settings()).events["place_order"](Session(), {**ORDER, "side": "both"})


# ---- where there is a console


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("404 Not Found", [("Content-Type", "text/plain")])
    return [b"nothing here"]


@pytest.mark.parametrize(
    ("variables", "with_app", "there", "simulated"),
    [
        (SIMULATED, False, True, True),
        (SIMULATED, True, False, False),
        ({**SIMULATED, "WEBSOCKET_CONSOLE": "true"}, True, True, True),
        ({**SIMULATED, "WEBSOCKET_CONSOLE": "false"}, False, False, False),
        ({"AMQP_URL": "amqp://127.0.0.1:1"}, False, False, False),
        ({"AMQP_URL": "amqp://127.0.0.1:1", "WEBSOCKET_CONSOLE": "true"}, False, True, False),
        ({"AMQP_URL": EMBEDDED_BROKER}, False, False, False),
    ],
)
def test_the_console_is_there_in_the_simulation_or_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], with_app: bool, there: bool, simulated: bool
) -> None:
    monkeypatch.setattr(Gateway, "start", lambda self: None)
    gateway = Gateway(Settings.from_env(environment(**variables)), application if with_app else None)

    def ask(method: str, path: str) -> str:
        found = list[str]()
        request = {"REQUEST_METHOD": method, "PATH_INFO": path, "HTTP_HOST": "localhost"}
        list(gateway(request, lambda status, headers, exc_info=None: found.append(status)))
        return found[-1][:3]

    nothing = "404" if with_app else "426"
    assert ask("GET", "/") == ("200" if there else nothing)
    assert ask("GET", "/console/console.mjs") == ("200" if there else nothing)
    assert ask("POST", "/console/session") == ("200" if simulated else nothing)
    assert ask("GET", "/elsewhere") == nothing
