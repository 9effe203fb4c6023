"""How a type of JSON Schema is written in Python, in TypeScript and in words, for `tests/programs/channel_types.py`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, NamedTuple

Schema = dict[str, Any]


def target(schema: Schema) -> str:
    """Return the name of the definition to which a schema refers."""
    return str(schema["$ref"]).rpartition("/")[2]


class Notation(NamedTuple):
    """How a language writes types.

    Attributes:
        scalars: by JSON Schema's name.
        items: writes a list, given the type of its items.
        row: writes a list of fixed length, given titles and types of its items.
        mapping: writes an object with any keys, given the type of its values.
        literals: writes a choice of texts.
    """

    scalars: dict[str, str]
    items: Callable[[str], str]
    row: Callable[[list[tuple[str, str]]], str]
    mapping: Callable[[str], str]
    literals: Callable[[list[str]], str]

    def write(self, schema: Schema) -> str:
        """Return the type of a schema. Raises KeyError for a schema that no notation knows."""
        if "$ref" in schema:
            return target(schema)
        if "enum" in schema:
            texts = [value for value in schema["enum"] if value is not None]
            return _union([self.literals(texts), *([self.scalars["null"]] if None in schema["enum"] else [])])
        if "anyOf" in schema:
            return _union([self.write(one) for one in schema["anyOf"]])
        if isinstance(schema["type"], list):
            return _union([self.scalars[name] for name in schema["type"]])
        if schema["type"] == "array":
            items = schema["items"]
            return self.items(self.write(items)) if isinstance(items, dict) else self.row(self._titled(items))
        if schema["type"] == "object":
            return self.mapping(self.write(schema["additionalProperties"]))
        return self.scalars[schema["type"]]

    def _titled(self, items: list[Schema]) -> list[tuple[str, str]]:
        return [(item["title"], self.write(item)) for item in items]


def _union(types: list[str]) -> str:
    return " | ".join(dict.fromkeys(" | ".join(types).split(" | ")))


def _many(of: str) -> str:
    return f"({of})[]" if " " in of else f"{of}[]"


PYTHON: Final = Notation(
    # A number with a fraction is a Decimal (`peatio_client.Event`).
    {"string": "str", "integer": "int", "number": "int | Decimal", "boolean": "bool", "null": "None"},
    "list[{}]".format,
    lambda row: f"list[{_union([one for _, one in row])}]",
    "dict[str, {}]".format,
    lambda texts: f"Literal[{', '.join(map(json.dumps, texts))}]",
)
TYPESCRIPT: Final = Notation(
    {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"},
    _many,
    lambda row: f"[{', '.join(f'{title}: {one}' for title, one in row)}]",
    "Record<string, {}>".format,
    lambda texts: " | ".join(map(json.dumps, texts)),
)
WORDS: Final = Notation(
    {"string": "text", "integer": "integer", "number": "number", "boolean": "boolean", "null": "null"},
    "list of {}".format,
    lambda row: f"list of {len(row)}: {', '.join(title for title, _ in row)}",
    "object; its values: {}".format,
    lambda texts: " | ".join(f"`{text}`" for text in texts),
)
