"""The protocol's state machine: every pair of state and input, and whatever a client may send."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.auth import Identity
from peatio_ws.dialects import Dialect
from peatio_ws.errors import Close
from peatio_ws.session import Action, Admit, HangUp, Input, Renew, Reply, Session, State, Verify

ANN = Identity(uid="ANN", member_id=1, role="member", expires=100.0)
ANN_LATER = Identity(uid="ANN", member_id=1, role="member", expires=200.0)
BOB = Identity(uid="BOB", member_id=2, role="member", expires=100.0)

AUTHENTICATED = Reply(b'{"success":{"message":"Authenticated."}}')
FAILED = Reply(b'{"error":{"message":"Authentication failed."}}')
NO_BEARER = Reply(b'{"error":{"message":"Token type is not provided or invalid."}}')
NOT_UNDERSTOOD = Reply(b'{"error":{"message":"Error while handling message."}}')
TOO_OFTEN = HangUp(Close.POLICY, "too many failed authentications")


def session_in(state: State) -> Session:
    session = Session(Dialect.CLASSIC)
    if state is State.AUTHENTICATED:
        session.verdict(ANN)
    assert session.state is state
    return session


def give(session: Session, what: Input) -> list[Action]:
    match what:
        case Input.TOKEN:
            return session.verdict(ANN_LATER)
        case Input.TOKEN_OF_ANOTHER:
            return session.verdict(BOB)
        case Input.BAD_TOKEN:
            return session.verdict(None)
        case Input.NO_BEARER:
            return session.receive('{"jwt":"Token x"}')
        case Input.NOT_UNDERSTOOD:
            return session.receive("hello")
    raise AssertionError(f"say how a client gives {what}")


NOBODY, SOMEBODY = State.ANONYMOUS, State.AUTHENTICATED
TABLE: dict[tuple[State, Input], tuple[State, list[Action]]] = {
    (NOBODY, Input.TOKEN): (SOMEBODY, [Admit(ANN_LATER), AUTHENTICATED]),
    # Before the first token there is nobody whom another could be: it is the first token.
    (NOBODY, Input.TOKEN_OF_ANOTHER): (SOMEBODY, [Admit(BOB), AUTHENTICATED]),
    (NOBODY, Input.BAD_TOKEN): (NOBODY, [FAILED]),
    (NOBODY, Input.NO_BEARER): (NOBODY, [NO_BEARER]),
    (NOBODY, Input.NOT_UNDERSTOOD): (NOBODY, [NOT_UNDERSTOOD]),
    (SOMEBODY, Input.TOKEN): (SOMEBODY, [Renew(ANN_LATER), AUTHENTICATED]),
    (SOMEBODY, Input.TOKEN_OF_ANOTHER): (SOMEBODY, [FAILED]),
    (SOMEBODY, Input.BAD_TOKEN): (SOMEBODY, [FAILED]),
    (SOMEBODY, Input.NO_BEARER): (SOMEBODY, [NO_BEARER]),
    (SOMEBODY, Input.NOT_UNDERSTOOD): (SOMEBODY, [NOT_UNDERSTOOD]),
}


@pytest.mark.parametrize(("state", "what"), list(itertools.product(State, Input)))
def test_every_input_is_answered_in_every_state(state: State, what: Input) -> None:
    session = session_in(state)
    assert (give(session, what), session.state) == (TABLE[state, what][1], TABLE[state, what][0])


@pytest.mark.parametrize("what", [Input.TOKEN_OF_ANOTHER, Input.BAD_TOKEN, Input.NO_BEARER, Input.NOT_UNDERSTOOD])
def test_what_is_refused_changes_nobody(what: Input) -> None:
    session = session_in(State.AUTHENTICATED)
    give(session, what)
    assert session.identity == ANN


def test_a_newer_token_of_the_same_member_counts() -> None:
    session = session_in(State.AUTHENTICATED)
    session.verdict(ANN_LATER)
    assert session.identity == ANN_LATER


def test_a_client_is_admitted_once_and_before_the_reply_that_says_so() -> None:
    session = Session(Dialect.CLASSIC)
    actions = [*session.verdict(ANN), *session.verdict(ANN_LATER), *session.verdict(ANN)]
    assert [type(action) for action in actions] == [Admit, Reply, Renew, Reply, Renew, Reply]


# ---- failures


@given(st.lists(st.sampled_from(Input)))
def test_the_fifth_failed_authentication_is_answered_and_then_ends_it(inputs: list[Input]) -> None:
    session, failures = Session(Dialect.CLASSIC), 0
    session.verdict(ANN)
    for what in inputs:
        actions = give(session, what)
        failed = what in (Input.BAD_TOKEN, Input.TOKEN_OF_ANOTHER)
        failures += failed
        if failed and failures >= 5:
            assert actions == [FAILED, TOO_OFTEN]
            return
        assert not any(isinstance(action, HangUp) for action in actions)
        assert (FAILED in actions) is failed
    assert failures < 5


def test_failures_count_before_and_after_authentication_together() -> None:
    session = Session(Dialect.CLASSIC)
    for _ in range(4):
        assert session.verdict(None) == [FAILED]
    session.verdict(ANN)
    assert session.verdict(BOB) == [FAILED, TOO_OFTEN]


# ---- messages


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
@pytest.mark.parametrize("around", ["{}", " {} ", "\n{}\t"])
def test_a_bearer_token_is_to_be_verified(scheme: str, around: str) -> None:
    text = json.dumps({"jwt": around.format(f"{scheme} a.b.c")})
    assert Session(Dialect.CLASSIC).receive(text) == [Verify("a.b.c")]


def test_other_keys_of_a_message_with_a_token_are_ignored() -> None:
    text = '{"id":1,"jwt":"Bearer a.b.c","more":{"jwt":5}}'
    assert Session(Dialect.CLASSIC).receive(text) == [Verify("a.b.c")]


@pytest.mark.parametrize(
    "jwt", ["", " ", "a.b.c", "Token a.b.c", "Basic YTpi", "Bearera.b.c", 42, None, True, [], ["Bearer a"], {}, 1.5]
)
def test_a_jwt_without_the_scheme_bearer_is_told_so(jwt: object) -> None:
    assert Session(Dialect.CLASSIC).receive(json.dumps({"jwt": jwt})) == [NO_BEARER]


NONSENSE = ["", " ", "hello", "[1,2", "[]", "{}", '{"foo":1}', "null", "5", '"jwt"', '["jwt"]', '{"JWT":"Bearer a"}']
NONSENSE += ["{'jwt':1}", '{"jwt":"Bearer a"} {}', '{"jwt":"Bearer a"', "\ufeff{}", "\x00", "NaN", "[" * 12_000]
NONSENSE += ['{"jwt":' * 1_500, "1" * 9_999, '{"jwt":' * 20_000 + "1" + "}" * 20_000]  # 3.12 goes deeper than 3.11


@pytest.mark.parametrize("text", NONSENSE, ids="{!r:.20}".format)
def test_what_is_not_understood_is_told_so(text: str) -> None:
    assert Session(Dialect.CLASSIC).receive(text) == [NOT_UNDERSTOOD]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
MESSAGES = st.text() | JSON.map(json.dumps) | st.dictionaries(st.sampled_from(["jwt", "id"]), JSON).map(json.dumps)


@given(st.sampled_from(State), st.lists(MESSAGES, max_size=8))
def test_any_text_is_answered_once_and_ends_nothing(state: State, texts: list[str]) -> None:
    session = session_in(state)
    for text in texts:
        (answer,) = session.receive(text)
        assert isinstance(answer, Verify) or answer in (NO_BEARER, NOT_UNDERSTOOD)
        assert session.state is state


@given(st.text(alphabet="abcXYZ019-_.", min_size=1))
def test_a_token_is_verified_as_it_was_sent(token: str) -> None:
    assert Session(Dialect.CLASSIC).receive(json.dumps({"jwt": f"Bearer {token}"})) == [Verify(token)]
