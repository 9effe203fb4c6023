"""The session of a connection: tokens, messages and streams, for any input of a client."""

from __future__ import annotations

import enum
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
    AwaitBroker,
    Call,
    FindMemberId,
    Follow,
    GoLive,
    HangUp,
    Replay,
    Reply,
    Resume,
    SendBooks,
    Subscribe,
    Unsubscribe,
    Verify,
)
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.session import Session
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


def classic(identity: Identity | None = None) -> Session:
    """Return a classic session, authenticated if an identity is given."""
    session = Session(Dialect.CLASSIC, RULES)
    if identity is not None:
        authenticate(session, identity)
    return session


def ranger() -> Session:
    return Session(Dialect.RANGER, RULES)


def authenticate(session: Session, identity: Identity | None, **more: object) -> list[Action]:
    """Send a token, with further keys in the message. The token has this identity; with None it does not verify."""
    (verify,) = session.receive(json.dumps({"jwt": "Bearer a.b.c", **more}))
    assert isinstance(verify, Verify)
    return session.on_verified(verify, identity)


def admitted(identity: Identity) -> list[Action]:
    """Return the actions for the first token of a client that does not resume."""
    return [AwaitBroker(), Admit(identity), AUTHENTICATED, GoLive()]


# ---- tokens


class Token(enum.Enum):
    """Kinds of tokens on a connection of the member Ann."""

    OWN = ANN_LATER
    OF_ANOTHER_MEMBER = BOB
    BAD = None


ANSWERS: dict[tuple[Identity | None, Token], tuple[Identity | None, list[Action]]] = {
    (None, Token.OWN): (ANN_LATER, admitted(ANN_LATER)),
    (None, Token.OF_ANOTHER_MEMBER): (BOB, admitted(BOB)),
    (None, Token.BAD): (None, [FAILED]),
    (ANN, Token.OWN): (ANN_LATER, [AUTHENTICATED]),
    (ANN, Token.OF_ANOTHER_MEMBER): (ANN, [FAILED]),
    (ANN, Token.BAD): (ANN, [FAILED]),
}
"""For each connection identity and token: the later identity, and the actions."""


@pytest.mark.parametrize(("known", "token"), list(itertools.product([None, ANN], Token)))
def test_each_token_is_answered_before_and_after_authentication(known: Identity | None, token: Token) -> None:
    session = classic(known)
    identity, actions = ANSWERS[known, token]
    assert authenticate(session, token.value) == actions
    assert session.identity == identity


def test_a_client_is_admitted_once_and_before_its_reply() -> None:
    session = classic()
    actions = [action for identity in (ANN, ANN_LATER, ANN) for action in authenticate(session, identity)]
    assert [type(action) for action in actions] == [AwaitBroker, Admit, Reply, GoLive, Reply, Reply]


def test_looked_up_member_id_survives_newer_tokens() -> None:
    unnumbered = Identity(uid="ANN", member_id=None, role="member", expires=100.0)
    session = classic(unnumbered)
    session.on_member_id(None)
    assert session.identity == unnumbered
    session.on_member_id(1)
    assert session.identity == ANN
    authenticate(session, Identity(uid="ANN", member_id=None, role="member", expires=200.0))
    assert session.identity == ANN_LATER


def test_newer_token_finds_the_member_id_that_was_missing() -> None:
    unnumbered = Identity(uid="ANN", member_id=None, role="member", expires=100.0)
    session = classic(unnumbered)
    session.on_member_id(None)
    for identity in (unnumbered, ANN):
        assert authenticate(session, identity) == [FindMemberId(identity), AUTHENTICATED]
    assert authenticate(session, ANN_LATER) == [AUTHENTICATED]


# ---- failures


@given(st.lists(st.sampled_from(Token)))
def test_fifth_failure_is_answered_and_closes_the_connection(tokens: list[Token]) -> None:
    session, failures = classic(ANN), 0
    for token in tokens:
        actions = authenticate(session, token.value)
        failed = token is not Token.OWN
        failures += failed
        if failed and failures >= 5:
            assert actions == [FAILED, TOO_OFTEN]
            return
        assert not any(isinstance(action, HangUp) for action in actions)
        assert (FAILED in actions) is failed
    assert failures < 5


def test_failures_before_and_after_authentication_count_together() -> None:
    session = classic()
    for _ in range(4):
        assert authenticate(session, None) == [FAILED]
    authenticate(session, ANN)
    assert authenticate(session, BOB) == [FAILED, TOO_OFTEN]


# ---- resuming

WITH_RESUME = [(True, None), ("s.1.00000000", "s.1.00000000"), ("nonsense", "nonsense"), (1, None), ({"x": 1}, None)]


@pytest.mark.parametrize(("resume", "cursor"), WITH_RESUME)
def test_a_client_that_resumes_receives_its_cursor_first(resume: object, cursor: str | None) -> None:
    for session in (classic(), ranger()):
        assert authenticate(session, ANN, resume=resume) == [Admit(ANN), Resume(AUTHENTICATED.payload, cursor)]


@pytest.mark.parametrize("resume", [False, None, "", 0])
def test_a_client_that_does_not_resume_sees_no_difference(resume: object) -> None:
    assert authenticate(classic(), ANN, resume=resume) == admitted(ANN)


def test_only_authenticated_clients_can_ask_for_notices() -> None:
    for session in (classic(), ranger()):
        authenticate(session, None, notices=True)
        assert not session.notices
        assert authenticate(session, ANN) == admitted(ANN)
        assert not session.notices
        assert authenticate(session, ANN_LATER, notices=True) == [AUTHENTICATED], (
            "asking for notices changed the answer"
        )
        assert session.notices
        authenticate(session, ANN)
        assert session.notices, "a newer token ended the notices"


@pytest.mark.parametrize("notices", [False, True])
def test_ranger_connection_requests_notices_in_its_query(notices: bool) -> None:
    for identity in (None, ANN):
        session, plain = ranger(), ranger()
        assert session.open(identity, ["a.b"], notices=notices) == plain.open(identity, ["a.b"])
        assert session.notices is notices


def test_token_that_cannot_be_verified_yet_is_not_a_failure() -> None:
    reason, verify = "no key; retry after 3", Verify("a.b.c")
    for session in (classic(), ranger()):
        assert session.on_postponed(verify, "no key", 3) == [HangUp(Close.FULL, reason)]
    member = classic(ANN)
    payload = b'{"error":{"message":"no key; retry after 3","retry_after":3}}'
    assert member.on_postponed(verify, "no key", 3) == [Reply(payload)], "an authenticated client was closed"
    assert member.identity == ANN


@pytest.mark.parametrize(("resume", "cursor"), WITH_RESUME)
def test_a_later_token_may_begin_to_resume(resume: object, cursor: str | None) -> None:
    assert authenticate(classic(ANN), ANN_LATER, resume=resume) == [Resume(AUTHENTICATED.payload, cursor)]


def test_a_failed_token_does_not_resume() -> None:
    session = classic()
    assert authenticate(session, None, resume=True) == [FAILED]
    assert authenticate(session, ANN) == admitted(ANN)


@pytest.mark.parametrize(("resume", "cursor"), [("1", None), ("true", None), ("s.2.00000000", "s.2.00000000")])
def test_a_ranger_connection_may_resume_in_its_query(resume: str, cursor: str | None) -> None:
    reply = json.dumps(subscribed("order", "a.b")).replace(" ", "").encode()
    assert ranger().open(ANN, ["order", "a.b"], resume) == [
        Admit(ANN),
        Subscribe(("order", "a.b")),
        Resume(reply, cursor),
    ]
    assert answers(ranger().open(None, ["a.b"], resume)) == [Subscribe(("a.b",)), subscribed("a.b")]


# ---- messages


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
@pytest.mark.parametrize("around", ["{}", " {} ", "\n{}\t"])
def test_a_bearer_token_is_verified(scheme: str, around: str) -> None:
    text = json.dumps({"jwt": around.format(f"{scheme} a.b.c")})
    assert classic().receive(text) == [Verify("a.b.c")]


def test_other_keys_of_a_message_with_a_token_are_ignored() -> None:
    text = '{"id":1,"jwt":"Bearer a.b.c","more":{"jwt":5}}'
    assert classic().receive(text) == [Verify("a.b.c")]


@pytest.mark.parametrize(
    "jwt", ["", " ", "a.b.c", "Token a.b.c", "Basic YTpi", "Bearera.b.c", 42, None, True, [], ["Bearer a"], {}, 1.5]
)
def test_a_jwt_without_the_bearer_scheme_is_refused(jwt: object) -> None:
    assert classic().receive(json.dumps({"jwt": jwt})) == [NO_BEARER]


NONSENSE = ["", " ", "hello", "[1,2", "[]", "{}", '{"foo":1}', "null", "5", '"jwt"', '["jwt"]', '{"JWT":"Bearer a"}']
NONSENSE += ["{'jwt':1}", '{"jwt":"Bearer a"} {}', '{"jwt":"Bearer a"', "\ufeff{}", "\x00", "NaN", "[" * 12_000]
NONSENSE += [
    '{"jwt":' * 1_500,
    "1" * 9_999,
    '{"jwt":' * 100_000 + "1" + "}" * 100_000,
]  # the limit of nesting differs between Python versions


@pytest.mark.parametrize("text", NONSENSE, ids="{!r:.20}".format)
def test_nonsense_is_answered_with_an_error(text: str) -> None:
    assert classic().receive(text) == [NOT_UNDERSTOOD]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
MESSAGES = st.text() | JSON.map(json.dumps) | st.dictionaries(st.sampled_from(["jwt", "id"]), JSON).map(json.dumps)


@given(st.sampled_from([None, ANN]), st.lists(MESSAGES, max_size=8))
def test_any_text_has_one_answer_and_changes_no_identity(identity: Identity | None, texts: list[str]) -> None:
    session = classic(identity)
    for text in texts:
        (answer,) = session.receive(text)
        assert isinstance(answer, Verify) or answer in (NO_BEARER, NOT_UNDERSTOOD)
        assert session.identity == identity


@given(st.text(alphabet="abcXYZ019-_.", min_size=1))
def test_token_is_verified_unchanged(token: str) -> None:
    assert classic().receive(json.dumps({"jwt": f"Bearer {token}"})) == [Verify(token)]


# ---- streams


def answers(actions: list[Action]) -> list[object]:
    """Return replies as JSON, and all other actions unchanged."""
    return [json.loads(action.payload) if isinstance(action, Reply) else action for action in actions]


def subscribed(*streams: str, message: str = "subscribed") -> object:
    return {"success": {"message": message, "streams": list(streams)}}


def ask(session: Session, event: str, *streams: str) -> list[object]:
    return answers(session.receive(json.dumps({"event": event, "streams": streams})))


ADMIN = Identity(uid="ANN", member_id=1, role="admin", expires=100.0)


@pytest.mark.parametrize("session", [classic(), ranger()])
def test_every_answer_lists_all_streams_in_the_order_subscribed(session: Session) -> None:
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
        AwaitBroker(),
        Admit(ANN),
        Subscribe(("order",)),
        subscribed("order"),
        GoLive(),
    ]


def after(session: Session, *streams: str, **marks: object) -> list[Action]:
    given = {name.replace("_", "."): mark for name, mark in marks.items()}
    return session.receive(json.dumps({"event": "subscribe", "streams": streams, "after": given}))


def replied(*streams: str) -> bytes:
    return encoding.subscribed(streams)


@pytest.mark.parametrize("session", [classic(), ranger()])
def test_streams_of_trades_follow_the_reply_with_marks(session: Session) -> None:
    assert ask(session, "subscribe", "a.trades") == [Subscribe(("a.trades",)), subscribed("a.trades")]
    subscribing, follow = after(session, "c.x", "b.trades", "a.trades", b_trades="m", a_trades="m", c_x=None, d_x="m")
    assert subscribing == Subscribe(("c.x", "b.trades"))
    known = (("b.trades", "m"), ("a.trades", None))
    assert follow == Follow(replied("a.trades", "c.x", "b.trades"), known, ("c.x", "a.trades"))
    _, later = session.receive('{"event":"subscribe","streams":["d.trades"],"echo":7}')
    assert later == Follow(replied("a.trades", "c.x", "b.trades", "d.trades"), (("d.trades", None),), echo=b"7")
    assert ask(session, "subscribe", "c.x") == [subscribed("a.trades", "c.x", "b.trades", "d.trades")]


def test_marks_need_no_stream_of_trades_and_no_mark() -> None:
    session = ranger()
    assert answers(after(session)) == [subscribed()]
    assert after(session, "a.b.trades", "a.trades", "trades", a_trades=None) == [
        Reply(encoding.cannot_subscribe("a.b.trades")),
        Subscribe(("a.trades",)),
        Follow(replied("a.trades"), (("a.trades", None),), ("a.trades",)),
    ]


@pytest.mark.parametrize("marks", [5, "m", ["a.trades"], None, {"a.trades": 5}, {"a.trades": {}}])
def test_marks_that_are_none_are_an_error(marks: object) -> None:
    session = ranger()
    message = json.dumps({"event": "subscribe", "streams": ["a.trades"], "after": marks})
    assert session.receive(message) == [Reply(encoding.AFTER_NOT_MARKS)]
    assert (session.streams, session.marks) == ([], False)


def test_marks_of_the_query_are_answered_by_the_first_frame() -> None:
    follow = Follow(replied("a.trades"), (("a.trades", "m"),))
    assert ranger().open(None, ["a.trades"], after={"a.trades": "m"}) == [Subscribe(("a.trades",)), follow]
    assert ranger().open(ANN, ["a.trades"], "cursor", after={"a.trades": "m"})[-1] == Resume(
        follow.payload, "cursor", follow=follow
    )
    session = ranger()
    assert answers(session.open(None, [], after={})) == [subscribed()]
    assert session.marks


def test_private_streams_are_for_authenticated_ranger_clients() -> None:
    session = ranger()
    assert ask(session, "subscribe", "order") == [subscribed()]
    authenticate(session, ANN)
    assert ask(session, "subscribe", "order") == [Subscribe(("order",)), subscribed("order"), Replay()]
    assert ask(classic(ANN), "subscribe", "order") == [subscribed()]


def test_a_prefixed_stream_needs_a_role() -> None:
    refusal = {"error": "cannot subscribe to admin.eurusd.sys"}
    for identity in (None, ANN, Identity(uid="ANN", member_id=1, role="", expires=1.0)):
        session = ranger()
        authenticate(session, identity)
        assert ask(session, "subscribe", "admin.eurusd.sys", "eurusd.sys") == [
            refusal,
            Subscribe(("eurusd.sys",)),
            subscribed("eurusd.sys"),
        ]
    session = ranger()
    authenticate(session, ADMIN)
    assert ask(session, "subscribe", "admin.eurusd.sys") == [
        Subscribe(("admin.eurusd.sys",)),
        subscribed("admin.eurusd.sys"),
    ]
    assert ask(session, "subscribe", "secret.eurusd.sys") == [
        {"error": "cannot subscribe to secret.eurusd.sys"},
        subscribed("admin.eurusd.sys"),
    ]


def test_newer_token_with_a_lower_role_ends_forbidden_streams() -> None:
    session = ranger()
    authenticate(session, ADMIN)
    ask(session, "subscribe", "admin.eurusd.sys", "order", "a.b")
    assert authenticate(session, ANN_LATER) == [Unsubscribe(("admin.eurusd.sys",)), AUTHENTICATED]
    assert list(session.streams) == ["order", "a.b"]


def test_streams_over_the_limit_are_refused_together() -> None:
    session = ranger()
    ask(session, "subscribe", *(f"m{number}.x" for number in range(MOST - 1)))
    (error, _) = ask(session, "subscribe", "one.more", "and.another")
    assert error == {"error": f"too many streams: a connection has {MOST} at most"}
    assert len(session.streams) == MOST - 1
    assert Subscribe(("one.more",)) in ask(session, "subscribe", "one.more", "m1.x")


@pytest.mark.parametrize(
    "name", ["", ".", "a.", ".b", "a..b", "a.b.c.d", "*.trades", "#", "a b.c", 'a"b.c', "é.x", "a" * 129]
)
def test_an_invalid_stream_name_is_refused(name: str) -> None:
    (error, success) = ask(ranger(), "subscribe", name)
    assert isinstance(error, dict)
    assert error["error"].startswith("cannot subscribe to ")
    assert success == subscribed()


@pytest.mark.parametrize("event", ["subscribe", "unsubscribe"])
@pytest.mark.parametrize("session", [classic(), ranger()])
def test_a_missing_or_invalid_list_of_streams_is_refused(session: Session, event: str) -> None:
    assert answers(session.receive(f'{{"event":"{event}"}}')) == [{"error": "No streams provided"}]
    for streams in ('"a.b"', "1", "{}", "[1]", '["a.b",null]', '[["a.b"]]', "true"):
        assert answers(session.receive(f'{{"event":"{event}","streams":{streams}}}')) == [
            {"error": "Streams must be an array of strings"}
        ]


def test_subscribing_to_increments_again_sends_the_book_again() -> None:
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
def test_a_blank_message_of_a_ranger_client_is_not_answered(text: str) -> None:
    assert ranger().receive(text) == []
    assert classic().receive(text) == [NOT_UNDERSTOOD]


def test_ranger_clients_receive_rangers_answers() -> None:
    session = ranger()
    assert session.receive(" ping\n") == [Reply(b"pong")]
    assert classic().receive("ping") == [NOT_UNDERSTOOD]
    for text in ('{"event":"dance"}', "{}", '{"event":["subscribe"]}', '{"event":null}'):
        assert answers(session.receive(text)) == [{"error": "Could not parse Type: Invalid event"}]
        assert classic().receive(text) == [NOT_UNDERSTOOD]
    assert session.receive('{"jwt":"Bearer a.b.c"}') == [Verify("a.b.c")]
    assert session.receive('{"jwt":5}') == [NO_BEARER]


@pytest.mark.parametrize("text", [text for text in NONSENSE if text.strip()], ids="{!r:.20}".format)
def test_ranger_clients_learn_why_a_message_could_not_be_parsed(text: str) -> None:
    (answer,) = answers(ranger().receive(text))
    assert isinstance(answer, dict)
    assert answer["error"].startswith("Could not parse")


EVENTS = st.builds(
    lambda event, streams: json.dumps({"event": event, "streams": streams}),
    st.sampled_from(["subscribe", "unsubscribe", "dance"]),
    JSON | st.lists(st.sampled_from(["order", "a.b", "a.c", "admin.a.b", "secret.a.b", "*"]) | st.text(max_size=5)),
)


@given(st.booleans(), st.sampled_from([None, ANN, ADMIN]), st.lists(MESSAGES | EVENTS, max_size=12))
def test_streams_follow_from_the_subscribe_actions(is_ranger: bool, who: Identity | None, texts: list[str]) -> None:
    session = ranger() if is_ranger else classic()
    authenticate(session, who)
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
def test_a_handler_receives_the_whole_message(dialect: Dialect) -> None:
    session = Session(dialect, RULES, {"cancel"})
    message = {"event": "cancel", "streams": ["btcusd.trades"], "id": 5}
    assert session.receive(json.dumps(message)) == [Call("cancel", message)]
    assert session.receive('{"event":"cancel","jwt":"Bearer x"}') == [Verify("x")]
    for name in ("Cancel", "", None, 5, ["cancel"], {"cancel": 1}):
        assert session.receive(json.dumps({"event": name})) == [Reply(encoding.unknown_event(dialect))]
