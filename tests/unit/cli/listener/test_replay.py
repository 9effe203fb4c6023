"""Which events of a connection are a replay, and what is reported about its end."""

from __future__ import annotations

from typing import Any

import pytest

from peatio_ws.cli.listener.replay import BEGIN, ECHO, QUESTION, Replay

COMPLETE = {"cursor": "c1", "complete": True}
INCOMPLETE = {"cursor": "c9", "complete": False}
ANSWER = {"success": {"message": "unsubscribed", "streams": []}, "echo": ECHO}


def confirmed(resume: dict[str, Any]) -> dict[str, Any]:
    return {"success": {"message": "Authenticated."}, "resume": resume}


def test_end_of_a_complete_replay_is_reported_with_its_events() -> None:
    said = list[str]()
    replay = Replay("c1", said.append)
    assert not replay.on_frame(confirmed(COMPLETE))
    assert (replay.question(), replay.question()) == (QUESTION, None)
    for number in (2, 3):
        replay.on_frame({"order": {"id": number}, "cursor": f"c{number}"})
    assert replay.on_frame(ANSWER)
    assert (replay.cursor, said) == ("c3", ["resumed: no event is missing; events replayed: 2"])


@pytest.mark.parametrize("frames", [[confirmed(INCOMPLETE)], [confirmed(COMPLETE), {"resume": INCOMPLETE}, ANSWER]])
def test_incomplete_replay_is_reported_once(frames: list[dict[str, Any]]) -> None:
    said = list[str]()
    replay = Replay("c1", said.append)
    for frame in frames:
        replay.on_frame(frame)
    (line,) = said
    assert line.startswith("events may be missing")
    assert replay.cursor == "c9"


@pytest.mark.parametrize("resume", [None, BEGIN])
def test_first_connection_asks_and_reports_nothing(resume: str | None) -> None:
    said = list[str]()
    replay = Replay(resume, said.append)
    replay.on_frame(confirmed(COMPLETE))
    replay.on_frame({"resume": {**COMPLETE, "cursor": "c2"}})
    assert (replay.question(), replay.cursor, said) == (None, "c2", [])
    assert not replay.on_frame(ANSWER), "an answer to the user's own message"


def test_gap_on_an_open_connection_is_reported() -> None:
    said = list[str]()
    Replay(BEGIN, said.append).on_frame({"resume": INCOMPLETE})
    assert len(said) == 1
