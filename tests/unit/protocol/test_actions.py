"""Actions: a connection executes each kind, and a client is admitted in the order that the module guarantees."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
import typing

import pytest

from peatio_ws.auth.identity import Identity
from peatio_ws.protocol.actions import Action, Admit, AwaitBroker, GoLive, Reply, Resume, Subscribe, Verify
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.session import Session
from peatio_ws.protocol.subscription_rules import SubscriptionRules
from peatio_ws.server.connections.peatio_connection import PeatioConnection

ANN = Identity(uid="ANN", member_id=1, role="member", expires=100.0)


def executed() -> set[str]:
    """Return the names of the actions for which a connection has a case."""
    source = ast.parse(textwrap.dedent(inspect.getsource(PeatioConnection._execute)))
    return {ast.unparse(node.cls) for node in ast.walk(source) if isinstance(node, ast.MatchClass)}


def test_a_connection_executes_every_kind_of_action() -> None:
    """An action without a case would be ignored silently."""
    assert executed() == {kind.__name__ for kind in typing.get_args(Action)}


def authenticate(dialect: Dialect, **more: object) -> list[type[Action]]:
    session = Session(dialect, SubscriptionRules())
    (verify,) = session.receive(json.dumps({"jwt": "Bearer a.b.c", **more}))
    assert isinstance(verify, Verify)
    return [type(action) for action in session.on_verified(verify, ANN)]


@pytest.mark.parametrize("dialect", Dialect)
def test_a_client_that_does_not_resume_goes_live_after_its_reply(dialect: Dialect) -> None:
    assert authenticate(dialect) == [AwaitBroker, Admit, Reply, GoLive]


@pytest.mark.parametrize("dialect", Dialect)
def test_client_that_resumes_goes_live_after_its_replay(dialect: Dialect) -> None:
    assert authenticate(dialect, resume=True) == [Admit, Resume]


@pytest.mark.parametrize(
    ("resume", "order"),
    [(None, [AwaitBroker, Admit, Subscribe, Reply, GoLive]), ("1", [Admit, Subscribe, Resume])],
)
def test_a_ranger_connection_is_admitted_before_its_streams(resume: str | None, order: list[type[Action]]) -> None:
    session = Session(Dialect.RANGER, SubscriptionRules())
    assert [type(action) for action in session.open(ANN, ["order"], resume)] == order
