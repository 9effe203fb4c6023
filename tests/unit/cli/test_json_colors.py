"""Colours of frames: nothing but colours is added."""

from __future__ import annotations

import json
import re

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.cli.json_colors import colored

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON, st.booleans())
def test_without_its_colours_a_frame_is_as_it_came(value: object, spaces: bool) -> None:
    frame = json.dumps(value, separators=None if spaces else (",", ":"))
    assert click.unstyle(colored(frame)) == frame.replace("\x7f", "\\u007f")


@pytest.mark.parametrize(
    "frame",
    [
        '{"price":9120.50,"id":1E+2}',
        '{"n":123456789012345678901234567890.10}',
        '{"a":"\\/ \\u00e9 é, [x]: \\"y\\""}',
        '{"twice":1,"twice":2.0}',
        "pong",
        '{"not":json',
        "-0.0",
    ],
)
def test_numbers_and_texts_are_unchanged(frame: str) -> None:
    assert click.unstyle(colored(frame)) == frame


def test_names_texts_and_numbers_have_different_colours() -> None:
    colors = dict(re.findall(r'\x1b\[(\d+)m"?(\w+)', colored('{"name":"text","other" : 5}')))
    assert sorted(colors.values()) == ["5", "other", "text"]


@pytest.mark.parametrize("frame", ['"\x9b31m\x7f"', "pong\x1b[2J", "\r\x08\x00"])
def test_control_characters_are_escaped(frame: str) -> None:
    assert all(sign.isprintable() for sign in click.unstyle(colored(frame)))
    assert "\\u00" in colored(frame)
