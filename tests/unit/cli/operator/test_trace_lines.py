"""Lines of a trace for people: on one line each, with colours only on a terminal, and harmless to the terminal."""

from __future__ import annotations

import re
from typing import Any

import click
import pytest

from peatio_ws.cli.operator.trace_lines import shown

PLACE = {"at": "2026-11-29T12:25:01.123Z", "gateway": "web1:8080", "worker": 7}
HEAD = "2026-11-29T12:25:01.123Z web1:8080/7 "


def line(kind: str, **fields: Any) -> dict[str, Any]:
    return {"kind": kind, **PLACE, **fields}


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (line("ping", connection="c1", by="gateway"), HEAD + "c1 ping          by=gateway"),
        (line("opened", connection="c1", uid=None), HEAD + "c1 opened        uid=-"),
        (line("subscribed", connection="c1", streams=["a.b", "c"], total=2),
         HEAD + "c1 subscribed    streams=a.b,c total=2"),
        (line("resumed", connection="c1", complete=False), HEAD + "c1 resumed       complete=no"),
        (line("closed", connection="c1", code=4413, reason="too slow", by="gateway"),
         HEAD + 'c1 closed        code=4413 reason="too slow" by=gateway'),
        (line("closed", connection="c1", reason=""), HEAD + 'c1 closed        reason=""'),
        (line("omitted", lines=12), HEAD + "- omitted       lines=12"),
        (line("sent", connection="c1", what="pong", body="pong", cut=True), HEAD + "c1 sent          what=pong pong …"),
    ],
)  # fmt: skip
def test_fields_are_shown_with_their_names(given: dict[str, Any], text: str) -> None:
    assert shown(given, terminal=False) == text


def test_first_line_says_how_many_workers_trace() -> None:
    begin = {"kind": "begin", "at": PLACE["at"], "seconds": 600.0}
    for received_by, text in (
        ({"workers": 1, "gateways": 1, "silent": 0}, "tracing for 600 s on 1 worker of 1 gateway"),
        ({"workers": 4, "gateways": 2, "silent": 1}, "tracing for 600 s on 4 workers of 2 gateways; 1 did not answer"),
    ):
        assert shown({**begin, "received_by": received_by}, terminal=False) == text


@pytest.mark.parametrize("kind", ["alive", "end"])
def test_lines_that_say_nothing_are_left_out(kind: str) -> None:
    assert shown({"kind": kind, "at": PLACE["at"]}, terminal=False) is None


def test_terminal_gets_colours_and_a_short_time() -> None:
    text = shown(line("closed", connection="c1", code=1000, body='{"a":1}'), terminal=True)
    assert text is not None
    plain = click.unstyle(text)
    assert text != plain
    assert re.fullmatch(r"[0-9]{2}:25:01\.123 web1:8080/7 c1 closed        code=1000 \{\"a\":1\}", plain)


@pytest.mark.parametrize("terminal", [True, False])
def test_characters_that_control_a_terminal_are_escaped(terminal: bool) -> None:
    given = line("received", connection="c1", what="\x1b]0;title\x07", body="a\n\x1b[2J\u2028\x9b")
    text = shown(given, terminal)
    assert text is not None
    assert click.unstyle(text).endswith(r"what=\u001b]0;title\u0007 a\u000a\u001b[2J\u2028\u009b")
