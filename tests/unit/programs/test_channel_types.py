"""The types of the clients and the tables of docs/channels.md are those of docs/channels.schema.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.programs import channel_types
from tests.programs.channel_types import OUTPUTS
from tests.support.type_notation import PYTHON, TYPESCRIPT, WORDS


@pytest.mark.parametrize("path", OUTPUTS, ids=lambda path: path.name)
def test_generated_files_are_current(path: Path) -> None:
    assert path.read_text() == OUTPUTS[path](), "`python -m tests.programs.channel_types` writes it again"


@pytest.mark.parametrize(
    ("schema", "python", "typescript", "words"),
    [
        ({"type": "integer"}, "int", "number", "integer"),
        ({"type": ["string", "number", "null"]}, "str | int | Decimal | None", "string | number | null", None),
        ({"enum": ["a", "b", None]}, 'Literal["a", "b"] | None', '"a" | "b" | null', "`a` | `b` | null"),
        ({"anyOf": [{"$ref": "#/definitions/A"}, {"type": "null"}]}, "A | None", "A | null", "A | null"),
        ({"type": "array", "items": {"$ref": "#/definitions/A"}}, "list[A]", "A[]", "list of A"),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, 'list[Literal["a", "b"]]', '("a" | "b")[]', None),
        (
            {"type": "array", "items": [{"title": "x", "type": "integer"}, {"title": "y", "type": "number"}]},
            "list[int | Decimal]",
            "[x: number, y: number]",
            "list of 2: x, y",
        ),
        (
            {"type": "object", "additionalProperties": {"type": "string"}},
            "dict[str, str]",
            "Record<string, string>",
            None,
        ),
    ],
)
def test_a_schema_is_written_as_a_type(schema: dict[str, Any], python: str, typescript: str, words: str | None) -> None:
    assert (PYTHON.write(schema), TYPESCRIPT.write(schema)) == (python, typescript)
    assert words in (None, WORDS.write(schema))


def test_deprecated_bodies_have_no_types() -> None:
    names = channel_types.typed()
    assert {"Order", "Trade", "Ticker", "BookUpdate", "Kline"} <= names.keys()
    assert not [name for name, schema in names.items() if schema.get("deprecated") or name.startswith("Translated")]


def test_orders_and_trades_of_the_clients_have_one_shape() -> None:
    streams = {stream.name: stream.bodies for stream in channel_types.streams()}
    assert (streams["order"], streams["trade"]) == (["Order"], ["Trade"])
    assert "orderbook" not in streams


def test_answers_over_rest_have_types_of_their_own() -> None:
    names = channel_types.typed()
    for name in ("Order", "Trade"):
        rest, stream = (names[one]["properties"]["created_at"]["$ref"] for one in (f"Rest{name}", name))
        assert (rest, stream) == ("#/definitions/IsoTime", "#/definitions/UnixTime")
    assert not names["RestOrder"]["properties"].keys() & {"at", "kind"}
