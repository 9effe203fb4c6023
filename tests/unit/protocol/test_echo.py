"""The `echo` of a client's message in the answers to it."""

from __future__ import annotations

import json

import pytest

from peatio_ws.auth.identity import Identity
from peatio_ws.protocol.actions import Reply, Resume, Verify
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.session import Session
from peatio_ws.protocol.subscription_rules import SubscriptionRules

ANN = Identity(uid="ANN", member_id=1, role="member", expires=100.0)

AUTHENTICATED = Reply(b'{"success":{"message":"Authenticated."}}')
FAILED = Reply(b'{"error":{"message":"Authentication failed."}}')


ROLES = {"admin": frozenset({"admin", "superadmin"})}
MOST = 20
RULES = SubscriptionRules(ROLES, MOST)


def classic() -> Session:
    return Session(Dialect.CLASSIC, RULES)


def ranger() -> Session:
    return Session(Dialect.RANGER, RULES)


ECHOES = ["1", "-1", "0", "12345678901234567890123", '""', '"a"', '"\\u00e9"', '"é"', '"' + "x" * 64 + '"', '"a\\"b"']
NO_ECHOES = ["null", "true", "1.0", "1e3", "{}", "[1]", '"' + "x" * 65 + '"', "1" * 65]
ANSWERED = [
    '{"event":"subscribe","streams":["a.b","*"]',
    '{"event":"unsubscribe","streams":["a.b"]',
    '{"event":"subscribe"',
    '{"event":"dance"',
    '{"jwt":5',
]


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("text", ANSWERED)
def test_an_echo_is_the_last_key_of_each_answer(dialect: Dialect, text: str) -> None:
    for echo in ECHOES:
        plain, echoing = (Session(dialect, RULES) for _ in range(2))
        for before, after in zip(
            plain.receive(text + "}"), echoing.receive(f'{text},"echo":{echo}' + "}"), strict=True
        ):
            if isinstance(before, Reply):
                before = Reply(before.payload[:-1] + f',"echo":{echo}}}'.encode())
            assert after == before


@pytest.mark.parametrize("echo", NO_ECHOES)
@pytest.mark.parametrize("text", ANSWERED)
def test_other_values_than_short_texts_and_integers_are_ignored(text: str, echo: str) -> None:
    assert ranger().receive(f'{text},"echo":{echo}' + "}") == ranger().receive(text + "}")


@pytest.mark.parametrize("identity", [None, ANN])
@pytest.mark.parametrize("more", ["", ',"resume":true'])
def test_answer_to_a_token_has_the_echo_of_its_message(identity: Identity | None, more: str) -> None:
    session = classic()

    def answer(text: str) -> Reply | Resume:
        (verify,) = session.receive(text)
        assert isinstance(verify, Verify)
        (found,) = (action for action in session.on_verified(verify, identity) if isinstance(action, Reply | Resume))
        return found

    first = answer('{"jwt":"Bearer a.b.c","echo":7' + more + "}")
    if isinstance(first, Resume):
        assert first == Resume(AUTHENTICATED.payload, None, b"7")
    else:
        assert json.loads(first.payload)["echo"] == 7
    assert answer('{"jwt":"Bearer a.b.c"}') == (FAILED if identity is None else AUTHENTICATED)
