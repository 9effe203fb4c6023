"""Commands on the Redis channel. A worker ignores anything else that is published there."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.auth.identity import Identity
from peatio_ws.auth.revocations import Revocation
from peatio_ws.cluster import commands
from peatio_ws.cluster.commands import (
    AddressLocked,
    Answer,
    CancelCommand,
    CloseCommand,
    ClosesCommand,
    DisconnectCommand,
    DrainCommand,
    GatewaysCommand,
    NoticeCommand,
    TraceCommand,
    TraceTarget,
    WhoCommand,
    WorkerId,
)
from peatio_ws.monitoring.worker_reports import (
    ClosedConnection,
    MemberConnection,
    Refusal,
    WorkerLoad,
    WorkerStatus,
)

QUESTION = "0123456789abcdef"
NAMES = st.text(min_size=1, max_size=20)
COMMANDS = st.one_of(
    st.builds(WhoCommand, st.just(QUESTION), st.none() | NAMES, st.booleans()),
    st.builds(GatewaysCommand, st.just(QUESTION)),
    st.builds(ClosesCommand, st.just(QUESTION)),
    st.builds(CloseCommand, st.just(QUESTION), NAMES),
    st.builds(CancelCommand, st.just(QUESTION), st.builds(Revocation, NAMES, st.floats(0, 1e10), st.none() | NAMES)),
    st.builds(
        DisconnectCommand,
        st.just(QUESTION),
        NAMES,
        st.none() | NAMES,
        st.none() | st.builds(Revocation, NAMES, st.floats(0, 1e10), st.none() | NAMES, st.floats(0, 1e10)),
    ),
    st.builds(NoticeCommand, st.just(QUESTION), NAMES, st.none() | NAMES),
    st.builds(DrainCommand, st.just(QUESTION), st.none() | NAMES, st.booleans()),
    st.builds(
        TraceCommand,
        st.just(QUESTION),
        st.builds(TraceTarget, st.none() | NAMES, st.none() | NAMES, st.none() | NAMES),
        st.booleans(),
        st.floats(0, 60),
    ),
    st.builds(AddressLocked, NAMES, st.floats(0.001, 60)),
)
PLACE = WorkerId("web1", "web1:8080", 42)


@given(COMMANDS)
def test_command_survives_encoding_and_decoding(command: commands.Command | AddressLocked) -> None:
    assert commands.read_command(commands.encode(command)) == command


@given(
    st.binary()
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda value: json.dumps(value).encode())
)
def test_anything_else_is_ignored(data: bytes) -> None:
    assert commands.read_command(data) is None
    assert commands.read_answer(data) is None


@pytest.mark.parametrize(
    "message",
    [
        {"do": "dance", "question": QUESTION},
        {"do": "who"},
        {"do": "who", "question": "../etc"},
        {"do": "who", "question": QUESTION * 5},
        {"do": "disconnect", "question": QUESTION},
        {"do": "disconnect", "question": QUESTION, "uid": ""},
        {"do": "disconnect", "question": QUESTION, "uid": ["A"]},
        {"do": "disconnect", "question": QUESTION, "uid": "A", "revoked": {"uid": "A"}},
        {"do": "notice", "question": QUESTION, "text": ""},
        {"do": "notice", "question": QUESTION, "text": "x" * (commands.MOST_CHARACTERS + 1)},
        {"do": "drain", "question": QUESTION, "undo": "yes"},
        {"do": "limited", "address": "127.0.0.1", "seconds": -1},
    ],
)
def test_almost_valid_command_is_ignored(message: dict[str, object]) -> None:
    assert commands.read_command(json.dumps(message).encode()) is None


def test_unknown_fields_of_later_versions_are_ignored() -> None:
    assert commands.read_command(b'{"do":"who","question":"0123456789abcdef","more":[1]}') == WhoCommand(QUESTION)


@pytest.mark.parametrize("tail", [b"[" * 100_000, b'"\xff"}'])
def test_malformed_unused_fields_are_refused(tail: bytes) -> None:
    assert commands.read_command(b'{"do":"who","more":' + tail) is None


CONNECTIONS = st.builds(
    MemberConnection, NAMES, NAMES, NAMES, NAMES, st.floats(0, 1e10), st.integers(0, 2**31), st.lists(NAMES, max_size=2)
)
STATUS = st.builds(
    WorkerStatus,
    NAMES,
    st.floats(0, 1e10),
    st.integers(0, 9),
    st.integers(0, 9),
    st.lists(NAMES, max_size=2),
    st.floats(0, 9),
    st.builds(WorkerLoad, st.integers(0, 9), st.floats(0, 1), redis=st.none() | st.booleans()),
)
CLOSE = st.builds(
    ClosedConnection, st.floats(0, 1e10), NAMES, st.integers(1000, 4999), NAMES, NAMES, NAMES, NAMES, st.none() | NAMES,
    st.floats(0, 9),
)  # fmt: skip
REFUSAL = st.builds(Refusal, st.floats(0, 1e10), NAMES, NAMES, NAMES, st.none() | st.integers(400, 503))
ANSWERS = st.builds(
    Answer, st.just(PLACE), st.just(7), st.booleans(), st.lists(CONNECTIONS, max_size=3), st.booleans(),
    st.none() | STATUS, st.lists(CLOSE, max_size=2), st.lists(REFUSAL, max_size=2),
)  # fmt: skip


@given(ANSWERS)
def test_answers_survive_encoding_and_decoding(answer: Answer) -> None:
    assert commands.read_answer(commands.encode(answer)) == answer


@pytest.mark.parametrize(
    ("uid", "jti", "meant"), [("A", None, True), ("A", "a", True), ("A", "b", False), ("B", None, False)]
)
def test_which_connections_a_disconnect_closes(uid: str, jti: str | None, meant: bool) -> None:
    assert DisconnectCommand(QUESTION, uid, jti).concerns(Identity("A", None, "", 1.0, "a", 0.0)) is meant
    assert not DisconnectCommand(QUESTION, uid, jti).concerns(None)


@pytest.mark.parametrize(
    ("where", "meant"), [(None, True), ("web1", True), ("web1:8080", True), ("web1:8081", False), ("web", False)]
)
def test_which_gateways_a_drain_selects(where: str | None, meant: bool) -> None:
    assert PLACE.matches(where) is meant


@pytest.mark.parametrize(
    ("target", "matches"),
    [
        (TraceTarget(uid="ANN"), [True, False, False]),
        (TraceTarget(address="192.0.2.1"), [True, True, False]),
        (TraceTarget(connection="c3"), [False, False, True]),
    ],
)
def test_a_trace_is_of_a_member_an_address_or_a_connection(target: TraceTarget, matches: list[bool]) -> None:
    connections = [("ANN", "192.0.2.1", "c1"), (None, "192.0.2.1", "c2"), ("BOB", "192.0.2.2", "c3")]
    assert [target.matches(*one) for one in connections] == matches
