"""docs/channels.md: each example is a frame that docs/channels.schema.json describes, and each body has an example."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support import documents
from tests.support.asyncapi import EVENT, EVENTS, body, matching
from tests.support.gateway import ROOT

PAGE = ROOT / "docs" / "channels.md"
EXAMPLES = [json.loads(block.text) for block in documents.blocks(PAGE) if block.language == "json"]


def name_of(frame: dict[str, Any]) -> str:
    return next(iter(frame))


@pytest.mark.parametrize("frame", EXAMPLES, ids=name_of)
def test_each_example_is_valid(frame: dict[str, Any]) -> None:
    EVENT.validate(frame)
    EVENT.validate({**frame, "cursor": "c"})


@pytest.mark.parametrize("frame", EXAMPLES, ids=name_of)
def test_each_example_is_one_message_of_asyncapi(frame: dict[str, Any]) -> None:
    text = json.dumps(frame)
    assert len(matching("classic", "server", text) or matching("ranger", "server", text)) == 1


def test_each_body_of_each_stream_has_an_example() -> None:
    streams = [*EVENTS["properties"].values(), *EVENTS["patternProperties"].values()]
    bodies = {one["$ref"].rpartition("/")[2] for stream in streams for one in stream.get("anyOf", [])}
    shown = {name for name in bodies for frame in EXAMPLES if body(name).is_valid(frame[name_of(frame)])}
    assert bodies == shown


def mistyped(value: Any) -> list[Any]:
    """Return copies of a body, each with a key or a value of another type at one place."""
    if isinstance(value, dict):
        changed = [{**value, key: one} for key, inner in value.items() for one in mistyped(inner)]
        renamed = [{(f"{key}_" if key == name else key): inner for key, inner in value.items()} for name in value]
        return [*changed, *renamed]
    if isinstance(value, list):
        return [
            [*value[:place], one, *value[place + 1 :]] for place in range(len(value)) for one in mistyped(value[place])
        ]
    return [[value]]


MAPS = ("global.tickers", "balances")
"""Bodies whose own keys can be any."""


@pytest.mark.parametrize("frame", EXAMPLES, ids=name_of)
def test_a_mistyped_body_is_not_valid(frame: dict[str, Any]) -> None:
    name = name_of(frame)
    given = frame[name]
    wrong = [one for key in given for one in mistyped(given[key])] if name in MAPS else mistyped(given)
    assert wrong
    for changed in wrong:
        whole = {next(iter(given)): changed} if name in MAPS else changed
        assert not EVENT.is_valid({name: whole}), whole


def test_unknown_streams_are_not_valid() -> None:
    assert not EVENT.is_valid({"btcusd.depth": {"asks": []}})
    assert not EVENT.is_valid({"btcusd.kline-7m": [0, 1, 1, 1, 1, 1]})
