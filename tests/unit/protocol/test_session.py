"""The protocol's state machine: every pair of state and input, and whatever a client may send."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.auth.identity import Identity
from peatio_ws.close_codes import Close
from peatio_ws.protocol import encoding
from peatio_ws.protocol.actions import (
    Action,
    Admit,
    Call,
    GoLive,
    HangUp,
    Renew,
    Replay,
    Reply,
    Resume,
    SendBooks,
    Subscribe,
    Unsubscribe,
    Verify,
)
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.session import Session, SessionInput, SessionState
from peatio_ws.protocol.subscription_rules import SubscriptionRules

ANN = Identity(uid="ANN", member_id=1, role="member", expires=100.0)
ANN_LATER = Identity(uid="ANN", member_id=1, role="member", expires=200.0)
BOB = Identity(uid="BOB", member_id=2, role="member", expires=100.0)

AUTHENTICATED = Reply(b'{"success":{"message":"Authenticated."}}')
FAILED = Reply(b'{"error":{"message":"Authentication failed."}}')
NO_BEARER = Reply(b'{"error":{"message":"Token type is not provided or invalid."}}')
NOT_UNDERSTOOD = Reply(b'{"error":{"message":"Error while handling message."}}')
TOO_OFTEN = HangUp(Close.POLICY, "too many failed authentications")


ROLES = {"admin": frozenset({"admin", "superadmin"})}
MOST = 20
RULES = SubscriptionRules(ROLES, MOST)


def classic() -> Session:
    return Session(Dialect.CLASSIC, RULES)


def ranger() -> Session:
    return Session(Dialect.RANGER, RULES)


def session_in(state: SessionState) -> Session:
    session = classic()
    if state is SessionState.AUTHENTICATED:
        session.on_verified(ANN)
    assert session.state is state
    return session


def give(session: Session, what: SessionInput) -> list[Action]:
    match what:
        case SessionInput.TOKEN:
            return session.on_verified(ANN_LATER)
        case SessionInput.TOKEN_OF_ANOTHER:
            return session.on_verified(BOB)
        case SessionInput.BAD_TOKEN:
            return session.on_verified(None)
    raise AssertionError(f"say how a client gives {what}")


NOBODY, SOMEBODY = SessionState.ANONYMOUS, SessionState.AUTHENTICATED
TABLE: dict[tuple[SessionState, SessionInput], tuple[SessionState, list[Action]]] = {
    (NOBODY, SessionInput.TOKEN): (SOMEBODY, [Admit(ANN_LATER), AUTHENTICATED, GoLive()]),
    # Before the first token there is nobody whom another could be: it is the first token.
    (NOBODY, SessionInput.TOKEN_OF_ANOTHER): (SOMEBODY, [Admit(BOB), AUTHENTICATED, GoLive()]),
    (NOBODY, SessionInput.BAD_TOKEN): (NOBODY, [FAILED]),
    (SOMEBODY, SessionInput.TOKEN): (SOMEBODY, [Renew(ANN_LATER), AUTHENTICATED]),
    (SOMEBODY, SessionInput.TOKEN_OF_ANOTHER): (SOMEBODY, [FAILED]),
    (SOMEBODY, SessionInput.BAD_TOKEN): (SOMEBODY, [FAILED]),
}


@pytest.mark.parametrize(("state", "what"), list(itertools.product(SessionState, SessionInput)))
def test_every_input_is_answered_in_every_state(state: SessionState, what: SessionInput) -> None:
    session = session_in(state)
    assert (give(session, what), session.state) == (TABLE[state, what][1], TABLE[state, what][0])


@pytest.mark.parametrize("what", [SessionInput.TOKEN_OF_ANOTHER, SessionInput.BAD_TOKEN])
def test_what_is_refused_changes_nobody(what: SessionInput) -> None:
    session = session_in(SessionState.AUTHENTICATED)
    give(session, what)
    assert session.identity == ANN


def test_a_newer_token_of_the_same_member_counts() -> None:
    session = session_in(SessionState.AUTHENTICATED)
    session.on_verified(ANN_LATER)
    assert session.identity == ANN_LATER


def test_a_client_is_admitted_once_and_before_the_reply_that_says_so() -> None:
    session = classic()
    actions = [*session.on_verified(ANN), *session.on_verified(ANN_LATER), *session.on_verified(ANN)]
    assert [type(action) for action in actions] == [Admit, Reply, GoLive, Renew, Reply, Renew, Reply]


# ---- failures


@given(st.lists(st.sampled_from(SessionInput)))
def test_the_fifth_failed_authentication_is_answered_and_then_ends_it(inputs: list[SessionInput]) -> None:
    session, failures = classic(), 0
    session.on_verified(ANN)
    for what in inputs:
        actions = give(session, what)
        failed = what in (SessionInput.BAD_TOKEN, SessionInput.TOKEN_OF_ANOTHER)
        failures += failed
        if failed and failures >= 5:
            assert actions == [FAILED, TOO_OFTEN]
            return
        assert not any(isinstance(action, HangUp) for action in actions)
        assert (FAILED in actions) is failed
    assert failures < 5


def test_failures_count_before_and_after_authentication_together() -> None:
    session = classic()
    for _ in range(4):
        assert session.on_verified(None) == [FAILED]
    session.on_verified(ANN)
    assert session.on_verified(BOB) == [FAILED, TOO_OFTEN]


# ---- resuming

WITH_RESUME = [(True, None), ("s.1.00000000", "s.1.00000000"), ("nonsense", "nonsense"), (1, None), ({"x": 1}, None)]


@pytest.mark.parametrize(("asked", "cursor"), WITH_RESUME)
def test_who_asks_to_resume_is_told_where_it_is_before_any_event(asked: object, cursor: str | None) -> None:
    for session in (classic(), ranger()):
        assert session.receive(json.dumps({"jwt": "Bearer a.b.c", "resume": asked})) == [Verify("a.b.c")]
        assert session.on_verified(ANN) == [Admit(ANN, resumes=True), Resume(AUTHENTICATED.payload, cursor)]


@pytest.mark.parametrize("asked", [False, None, "", 0])
def test_who_does_not_ask_gets_the_very_same_answers(asked: object) -> None:
    session = classic()
    session.receive(json.dumps({"jwt": "Bearer a.b.c", "resume": asked}))
    assert session.on_verified(ANN) == [Admit(ANN), AUTHENTICATED, GoLive()]


def test_notices_are_for_who_asks_for_them_and_proves_who_it_is() -> None:
    for session in (classic(), ranger()):
        session.receive('{"jwt":"Bearer a.b.c","notices":true}')
        session.on_verified(None)
        assert not session.notices
        session.receive('{"jwt":"Bearer a.b.c"}')
        assert session.on_verified(ANN) == [Admit(ANN), AUTHENTICATED, GoLive()]
        assert not session.notices
        session.receive('{"jwt":"Bearer a.b.c","notices":true}')
        assert session.on_verified(ANN_LATER) == [Renew(ANN_LATER), AUTHENTICATED], "the answer is the same"
        assert session.notices
        session.receive('{"jwt":"Bearer a.b.c"}')
        session.on_verified(ANN)
        assert session.notices, "a fresh token does not take it back"


@pytest.mark.parametrize("asked", [False, True])
def test_a_ranger_connection_asks_for_notices_by_its_query(asked: bool) -> None:
    for identity in (None, ANN):
        session, plain = ranger(), ranger()
        assert session.open(identity, ["a.b"], notices=asked) == plain.open(identity, ["a.b"])
        assert session.notices is asked


def test_a_token_that_cannot_be_looked_at_is_not_said_to_have_failed() -> None:
    reason = "no key; retry after 3"
    for session in (classic(), ranger()):
        assert session.on_postponed("no key", 3) == [HangUp(Close.FULL, reason)]
    member = session_in(SessionState.AUTHENTICATED)
    payload = b'{"error":{"message":"no key; retry after 3","retry_after":3}}'
    assert member.on_postponed("no key", 3) == [Reply(payload)], "its connection is good"
    assert member.state is SessionState.AUTHENTICATED


@pytest.mark.parametrize(("asked", "cursor"), WITH_RESUME)
def test_a_later_token_may_ask_to_resume_from_then_on(asked: object, cursor: str | None) -> None:
    session = session_in(SessionState.AUTHENTICATED)
    session.receive(json.dumps({"jwt": "Bearer a.b.c", "resume": asked}))
    assert session.on_verified(ANN_LATER) == [Renew(ANN_LATER), Resume(AUTHENTICATED.payload, cursor)]


def test_a_token_that_fails_resumes_nothing() -> None:
    session = classic()
    session.receive('{"jwt":"Bearer a.b.c","resume":true}')
    assert session.on_verified(None) == [FAILED]
    session.receive('{"jwt":"Bearer a.b.c"}')
    assert session.on_verified(ANN) == [Admit(ANN), AUTHENTICATED, GoLive()]


@pytest.mark.parametrize(("asked", "cursor"), [("1", None), ("true", None), ("s.2.00000000", "s.2.00000000")])
def test_a_ranger_connection_may_resume_by_its_query(asked: str, cursor: str | None) -> None:
    actions = ranger().open(ANN, ["order", "a.b"], asked)
    assert actions[:2] == [Admit(ANN, resumes=True), Subscribe(("order", "a.b"))]
    assert actions[2:] == [Resume(json.dumps(subscribed("order", "a.b")).replace(" ", "").encode(), cursor)]
    assert answers(ranger().open(None, ["a.b"], asked)) == [Subscribe(("a.b",)), subscribed("a.b")]


# ---- messages


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
@pytest.mark.parametrize("around", ["{}", " {} ", "\n{}\t"])
def test_a_bearer_token_is_to_be_verified(scheme: str, around: str) -> None:
    text = json.dumps({"jwt": around.format(f"{scheme} a.b.c")})
    assert classic().receive(text) == [Verify("a.b.c")]


def test_other_keys_of_a_message_with_a_token_are_ignored() -> None:
    text = '{"id":1,"jwt":"Bearer a.b.c","more":{"jwt":5}}'
    assert classic().receive(text) == [Verify("a.b.c")]


@pytest.mark.parametrize(
    "jwt", ["", " ", "a.b.c", "Token a.b.c", "Basic YTpi", "Bearera.b.c", 42, None, True, [], ["Bearer a"], {}, 1.5]
)
def test_a_jwt_without_the_scheme_bearer_is_told_so(jwt: object) -> None:
    assert classic().receive(json.dumps({"jwt": jwt})) == [NO_BEARER]


NONSENSE = ["", " ", "hello", "[1,2", "[]", "{}", '{"foo":1}', "null", "5", '"jwt"', '["jwt"]', '{"JWT":"Bearer a"}']
NONSENSE += ["{'jwt':1}", '{"jwt":"Bearer a"} {}', '{"jwt":"Bearer a"', "\ufeff{}", "\x00", "NaN", "[" * 12_000]
NONSENSE += ['{"jwt":' * 1_500, "1" * 9_999, '{"jwt":' * 100_000 + "1" + "}" * 100_000]  # each Python goes deeper


@pytest.mark.parametrize("text", NONSENSE, ids="{!r:.20}".format)
def test_what_is_not_understood_is_told_so(text: str) -> None:
    assert classic().receive(text) == [NOT_UNDERSTOOD]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
MESSAGES = st.text() | JSON.map(json.dumps) | st.dictionaries(st.sampled_from(["jwt", "id"]), JSON).map(json.dumps)


@given(st.sampled_from(SessionState), st.lists(MESSAGES, max_size=8))
def test_any_text_is_answered_once_and_ends_nothing(state: SessionState, texts: list[str]) -> None:
    session = session_in(state)
    for text in texts:
        (answer,) = session.receive(text)
        assert isinstance(answer, Verify) or answer in (NO_BEARER, NOT_UNDERSTOOD)
        assert session.state is state


@given(st.text(alphabet="abcXYZ019-_.", min_size=1))
def test_a_token_is_verified_as_it_was_sent(token: str) -> None:
    assert classic().receive(json.dumps({"jwt": f"Bearer {token}"})) == [Verify(token)]


# ---- streams


def answers(actions: list[Action]) -> list[object]:
    """What the client is told, as JSON; everything else as it is."""
    return [json.loads(action.payload) if isinstance(action, Reply) else action for action in actions]


def subscribed(*streams: str, message: str = "subscribed") -> object:
    return {"success": {"message": message, "streams": list(streams)}}


def ask(session: Session, event: str, *streams: str) -> list[object]:
    return answers(session.receive(json.dumps({"event": event, "streams": streams})))


ADMIN = Identity(uid="ANN", member_id=1, role="admin", expires=100.0)


@pytest.mark.parametrize("session", [classic(), ranger()])
def test_streams_come_and_go_and_every_answer_lists_all_in_their_order(session: Session) -> None:
    assert ask(session, "subscribe", "b.trades", "a.trades", "b.trades") == [
        Subscribe(("b.trades", "a.trades")),
        subscribed("b.trades", "a.trades"),
    ]
    assert ask(session, "subscribe", "c.x", "a.trades") == [
        Subscribe(("c.x",)),
        subscribed("b.trades", "a.trades", "c.x"),
    ]
    assert ask(session, "unsubscribe", "a.trades", "nothing.here", "a.trades") == [
        Unsubscribe(("a.trades",)),
        subscribed("b.trades", "c.x", message="unsubscribed"),
    ]
    assert ask(session, "subscribe") == [subscribed("b.trades", "c.x")]
    assert ask(session, "unsubscribe", "a.trades") == [subscribed("b.trades", "c.x", message="unsubscribed")]


def test_a_ranger_connection_begins_with_the_streams_of_its_query() -> None:
    assert answers(ranger().open(None, ["b.trades", "order", "a.x"])) == [
        Subscribe(("b.trades", "a.x")),
        subscribed("b.trades", "a.x"),
    ]
    assert answers(ranger().open(None, [])) == [subscribed()]
    assert answers(ranger().open(ANN, ["order"])) == [
        Admit(ANN),
        Subscribe(("order",)),
        subscribed("order"),
        Replay(),
        GoLive(),
    ]


def test_a_private_stream_needs_somebody_and_the_ranger_protocol() -> None:
    session = ranger()
    assert ask(session, "subscribe", "order") == [subscribed()]
    session.on_verified(ANN)
    assert ask(session, "subscribe", "order") == [Subscribe(("order",)), subscribed("order"), Replay()]
    old = classic()
    old.on_verified(ANN)
    assert ask(old, "subscribe", "order") == [subscribed()]


def test_a_prefixed_stream_needs_a_role() -> None:
    refusal = {"error": "cannot subscribe to admin.eurusd.sys"}
    for identity in (None, ANN, Identity(uid="ANN", member_id=1, role="", expires=1.0)):
        session = ranger()
        session.on_verified(identity)
        assert ask(session, "subscribe", "admin.eurusd.sys", "eurusd.sys") == [
            refusal,
            Subscribe(("eurusd.sys",)),
            subscribed("eurusd.sys"),
        ]
    session = ranger()
    session.on_verified(ADMIN)
    assert ask(session, "subscribe", "admin.eurusd.sys") == [
        Subscribe(("admin.eurusd.sys",)),
        subscribed("admin.eurusd.sys"),
    ]
    assert ask(session, "subscribe", "secret.eurusd.sys") == [
        {"error": "cannot subscribe to secret.eurusd.sys"},
        subscribed("admin.eurusd.sys"),
    ]


def test_a_newer_token_with_a_lesser_role_ends_what_it_may_not_have() -> None:
    session = ranger()
    session.on_verified(ADMIN)
    ask(session, "subscribe", "admin.eurusd.sys", "order", "a.b")
    assert session.on_verified(ANN_LATER) == [Renew(ANN_LATER), Unsubscribe(("admin.eurusd.sys",)), AUTHENTICATED]
    assert list(session.streams) == ["order", "a.b"]


def test_more_streams_than_allowed_are_refused_together() -> None:
    session = ranger()
    ask(session, "subscribe", *(f"m{number}.x" for number in range(MOST - 1)))
    (error, _) = ask(session, "subscribe", "one.more", "and.another")
    assert error == {"error": f"too many streams: a connection has {MOST} at most"}
    assert len(session.streams) == MOST - 1
    assert Subscribe(("one.more",)) in ask(session, "subscribe", "one.more", "m1.x")


@pytest.mark.parametrize(
    "name", ["", ".", "a.", ".b", "a..b", "a.b.c.d", "*.trades", "#", "a b.c", 'a"b.c', "é.x", "a" * 129]
)
def test_what_is_no_streams_name_is_refused(name: str) -> None:
    (error, success) = ask(ranger(), "subscribe", name)
    assert isinstance(error, dict)
    assert error["error"].startswith("cannot subscribe to ")
    assert success == subscribed()


@pytest.mark.parametrize("event", ["subscribe", "unsubscribe"])
@pytest.mark.parametrize("session", [classic(), ranger()])
def test_streams_that_are_none_are_told_so(session: Session, event: str) -> None:
    assert answers(session.receive(f'{{"event":"{event}"}}')) == [{"error": "No streams provided"}]
    for streams in ('"a.b"', "1", "{}", "[1]", '["a.b",null]', '[["a.b"]]', "true"):
        assert answers(session.receive(f'{{"event":"{event}","streams":{streams}}}')) == [
            {"error": "Streams must be an array of strings"}
        ]


def test_an_increment_stream_that_is_asked_for_again_brings_its_book_before_the_reply() -> None:
    session = ranger()
    assert ask(session, "subscribe", "a.ob-inc", "a.trades")[0] == Subscribe(("a.ob-inc", "a.trades"))
    assert ask(session, "subscribe", "a.trades", "a.ob-inc", "b.ob-inc", "a.ob-inc") == [
        Subscribe(("b.ob-inc",)),
        SendBooks(("a.ob-inc",)),
        subscribed("a.ob-inc", "a.trades", "b.ob-inc"),
    ]
    assert ask(session, "subscribe", "b.ob-inc") == [
        SendBooks(("b.ob-inc",)),
        subscribed("a.ob-inc", "a.trades", "b.ob-inc"),
    ]
    assert ask(session, "subscribe", "a.trades") == [subscribed("a.ob-inc", "a.trades", "b.ob-inc")]


@pytest.mark.parametrize("text", ["", " ", "\n", " \t\r\n "])
def test_a_message_of_blanks_is_a_sign_of_life_and_not_answered(text: str) -> None:
    assert ranger().receive(text) == []
    assert classic().receive(text) == [NOT_UNDERSTOOD]


def test_ranger_has_answers_of_its_own() -> None:
    session = ranger()
    assert session.receive(" ping\n") == [Reply(b"pong")]
    assert classic().receive("ping") == [NOT_UNDERSTOOD]
    for text in ('{"event":"dance"}', "{}", '{"event":["subscribe"]}', '{"event":null}'):
        assert answers(session.receive(text)) == [{"error": "Could not parse Type: Invalid event"}]
        assert classic().receive(text) == [NOT_UNDERSTOOD]
    assert session.receive('{"jwt":"Bearer a.b.c"}') == [Verify("a.b.c")]
    assert session.receive('{"jwt":5}') == [NO_BEARER]


@pytest.mark.parametrize("text", [text for text in NONSENSE if text.strip()], ids="{!r:.20}".format)
def test_ranger_tells_why_a_message_could_not_be_read(text: str) -> None:
    (answer,) = answers(ranger().receive(text))
    assert isinstance(answer, dict)
    assert answer["error"].startswith("Could not parse")


EVENTS = st.builds(
    lambda event, streams: json.dumps({"event": event, "streams": streams}),
    st.sampled_from(["subscribe", "unsubscribe", "dance"]),
    JSON | st.lists(st.sampled_from(["order", "a.b", "a.c", "admin.a.b", "secret.a.b", "*"]) | st.text(max_size=5)),
)


@given(st.booleans(), st.sampled_from([None, ANN, ADMIN]), st.lists(MESSAGES | EVENTS, max_size=12))
def test_what_was_subscribed_is_what_the_session_says(is_ranger: bool, who: Identity | None, texts: list[str]) -> None:
    session = ranger() if is_ranger else classic()
    session.on_verified(who)
    has: dict[str, None] = {}
    for text in texts:
        for action in session.receive(text):
            if isinstance(action, Subscribe):
                assert not has.keys() & set(action.names)
                has |= dict.fromkeys(action.names)
            elif isinstance(action, Unsubscribe):
                for name in action.names:
                    del has[name]
            elif isinstance(action, Reply) and action.payload != b"pong":
                json.loads(action.payload)
        assert list(session.streams) == list(has)
        assert len(has) <= MOST
        assert who is ADMIN or not any(name.count(".") == 2 for name in has)
        assert (who and is_ranger) or not any("." not in name for name in has)


# ---- handlers


@pytest.mark.parametrize("dialect", Dialect)
def test_a_message_of_a_handlers_name_is_handed_to_it_whole(dialect: Dialect) -> None:
    session = Session(dialect, RULES, {"cancel"})
    message = {"event": "cancel", "streams": ["btcusd.trades"], "id": 5}
    assert session.receive(json.dumps(message)) == [Call("cancel", message)]
    assert session.receive('{"event":"cancel","jwt":"Bearer x"}') == [Verify("x")]
    for name in ("Cancel", "", None, 5, ["cancel"], {"cancel": 1}):
        assert session.receive(json.dumps({"event": name})) == [Reply(encoding.unknown_event(dialect))]
