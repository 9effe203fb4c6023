"""The types of Peatio's events in the clients, and the tables of fields in docs/channels.md, from their JSON Schema.

    python -m tests.programs.channel_types

Rewrites the files of `OUTPUTS` from docs/channels.schema.json. `tests/unit/programs/test_channel_types.py` checks that
they are current. A definition becomes a type if a stream or an answer of Peatio's REST API has it, directly or not, and
it is not `deprecated`.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from peatio_ws.protocol import view_names
from tests.support.type_notation import PYTHON, TYPESCRIPT, WORDS, Schema, target

ROOT: Final = Path(__file__).parent.parent.parent
SCHEMA: Final = json.loads((ROOT / "docs" / "channels.schema.json").read_text())
DEFINITIONS: Final[dict[str, dict[str, Any]]] = SCHEMA["definitions"]
CLASSIC: Final = "Classic"
"""Definitions with this prefix are bodies of the classic protocol, which the clients do not speak."""
REST: Final = "Rest"
"""Definitions with this prefix are answers of Peatio's REST API."""
WIDTH: Final = 120
TITLE: Final = "Peatio's streams, and the types of their events' bodies: `docs/channels.md` describes them."
NOTE: Final = "Generated from docs/channels.schema.json by `python -m tests.programs.channel_types`; do not edit."


class Stream(NamedTuple):
    """A stream, or all streams of a kind.

    Attributes:
        name: as the clients report it, with placeholders: `<market>.kline-<period>`.
        bodies: the definitions of its bodies, without deprecated ones.
        choices: the values of the last placeholder, if they are limited.
    """

    name: str
    bodies: list[str]
    choices: list[str]

    @property
    def parameters(self) -> list[str]:
        return re.findall(r"<(\w+)>", self.name)


def streams() -> list[Stream]:
    """Return the streams of the schema, each name once."""
    found: dict[str, Stream] = {}
    for pattern, schema in [*SCHEMA["properties"].items(), *SCHEMA["patternProperties"].items()]:
        if "title" not in schema:
            continue
        name, targets = schema["title"], map(target, schema["anyOf"])
        bodies = [body for body in targets if not DEFINITIONS[body].get("deprecated") and not body.startswith(CLASSIC)]
        if not bodies:
            continue
        choices = re.search(r"\(([\w|]+)\)\$$", pattern)
        stream = found.setdefault(name, Stream(name, [], choices[1].split("|") if choices else []))
        stream.bodies.extend(bodies)
    return list(found.values())


def typed() -> dict[str, Schema]:
    """Return the definitions that become types, in the order of the schema."""
    names, left = set[str](), [name for name in DEFINITIONS if name.startswith(REST)]
    left += [body for stream in streams() for body in stream.bodies]
    while left:
        name = left.pop()
        if name not in names:
            names.add(name)
            left += re.findall(r'"#/definitions/(\w+)"', json.dumps(DEFINITIONS[name]))
    return {name: schema for name, schema in DEFINITIONS.items() if name in names}


def _fields(schema: Schema) -> Iterator[tuple[str, Schema, bool]]:
    """Yield name, schema and whether it is always there, of each field of an object."""
    for name, field in schema.get("properties", {}).items():
        yield name, field, name in schema.get("required", ())


# ---- Python


def python() -> str:
    """Return the module `peatio_client.channels`."""
    aliases, classes, late = [], [], []
    for name, schema in typed().items():
        if "properties" in schema:
            classes.append(_typed_dict(name, schema))
        else:
            text = f'{name}: TypeAlias = {PYTHON.write(schema)}\n"""{schema["description"]}"""\n'
            (late if "$ref" in json.dumps(schema) else aliases).append(text)
    constants = [
        f'{_constant(body)}: Final = Stream[{body}]("{stream.name}")\n'
        for stream in streams()
        if not stream.parameters
        for body in stream.bodies
    ]
    functions = [_stream_function(stream) for stream in streams() if stream.parameters]
    head = textwrap.dedent(f'''\
        """{TITLE}

        {NOTE}
        """

        from __future__ import annotations

        from decimal import Decimal
        from typing import Final, Literal, NotRequired, TypeAlias, TypedDict, final

        from peatio_client.events import Stream

        ''')
    blocks = ["".join(aliases), *classes, "".join(late), "".join(constants), *functions]
    return head + "\n\n".join(blocks)


def _typed_dict(name: str, schema: Schema) -> str:
    lines = ["@final", f"class {name}(TypedDict):", *_wrapped(f'"""{schema["description"]}"""', "    "), ""]
    for field, inner, always in _fields(schema):
        kind = PYTHON.write(inner)
        lines.append(f"    {field}: {kind if always else f'NotRequired[{kind}]'}")
    return "\n".join(lines) + "\n"


def _stream_function(stream: Stream) -> str:
    (body,) = stream.bodies
    kinds = dict.fromkeys(stream.parameters, "str")
    if stream.choices:
        kinds[stream.parameters[-1]] = PYTHON.literals(stream.choices)
    given = ", ".join(f"{name}: {kind}" for name, kind in kinds.items())
    head = f"def {python_name(stream)}({given}) -> Stream[{body}]:"
    if len(head) > WIDTH:
        given = "".join(f"    {name}: {kind},\n" for name, kind in kinds.items())
        head = f"def {python_name(stream)}(\n{given}) -> Stream[{body}]:"
    text = stream.name.replace("<", "{").replace(">", "}")
    return f'{head}\n    """Return the stream `{stream.name}`."""\n    return Stream(f"{text}")\n'


def python_name(stream: Stream) -> str:
    """Return the name of the function that makes such a stream, or of the constant of its first body."""
    if stream.parameters:
        return re.sub(r"-?<\w+>\.?", "", stream.name).replace("-", "_")
    return _constant(stream.bodies[0])


def _constant(body: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", body).upper()


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent)


# ---- TypeScript


def typescript() -> str:
    """Return the declarations `peatio-client/channels`."""
    blocks = [f"/**\n * {TITLE}\n *\n * {NOTE}\n */\n"]
    for name, schema in typed().items():
        blocks.append(_interface(name, schema) if "properties" in schema else _type_alias(name, schema))
    blocks.append(_VIEWS)
    lines = [
        "/**",
        " * The body of a stream's events, by the stream's name: `any` for streams that are not Peatio's, `never` for",
        " * candles and views that do not exist.",
        " */",
        "export type BodyOf<Name> =",
        "  Name extends `${string}.ob-inc@${Pace}` ? BookChanges :",
        "  Name extends `${string}.ob-top@${Levels}` | `${string}.ob-top@${Levels}/${Pace}` ? BookSnapshot :",
        "  Name extends `${infer Market}.${infer Kind}@${Pace}` ? BodyOf<`${Market}.${Kind}`> :",
        "  Name extends `${string}.${string}@${string}` ? never :",
    ]
    for stream in streams():
        any_name = re.sub("<.+?>", "${string}", stream.name)
        name = f"`{any_name}`" if stream.parameters else f'"{stream.name}"'
        if stream.choices:
            choices = TYPESCRIPT.literals(stream.choices)
            name = f"`{any_name.removesuffix('${string}')}${{{choices}}}`"
        lines.append(f"  Name extends {name} ? {' | '.join(stream.bodies)} :")
        if stream.choices:
            lines.append(f"  Name extends `{any_name}` ? never :")
    blocks.append("\n".join([*lines, "  any;\n"]))
    return "\n".join(blocks)


_VIEWS: Final = f"""\
/** The pace of a view. */
export type Pace = `${{{" | ".join(map(str, view_names.MILLISECONDS))}}}ms`;

/** How many levels of each side a view of a book has. */
export type Levels = {" | ".join(map(str, view_names.LEVELS))};

/** The prices of a book that changed since the frame before (`btcusd.ob-inc@250ms`). */
export interface BookChanges {{
  /** Asks that changed; amount zero if none is left. */
  asks: PriceLevel[];
  /** Bids that changed; amount zero if none is left. */
  bids: PriceLevel[];
  /** Number of the last change. */
  sequence: number;
  /** `sequence` of the frame or snapshot before. */
  previous: number;
}}
"""


def _interface(name: str, schema: Schema) -> str:
    lines = [f"/** {schema['description']} */", f"export interface {name} {{"]
    for field, inner, always in _fields(schema):
        if "description" in inner:
            lines.append(f"  /** {inner['description']} */")
        lines.append(f"  {field}{'' if always else '?'}: {TYPESCRIPT.write(inner)};")
    return "\n".join([*lines, "}\n"])


def _type_alias(name: str, schema: Schema) -> str:
    return f"/** {schema['description']} */\nexport type {name} = {TYPESCRIPT.write(schema)};\n"


# ---- the page

_SECTION: Final = re.compile(r"(<!-- fields: (\w+) -->\n).*?(<!-- end of fields -->)", re.DOTALL)


def page() -> str:
    """Return docs/channels.md with its tables made from the schema."""
    text = (ROOT / "docs" / "channels.md").read_text()
    return _SECTION.sub(lambda match: f"{match[1]}\n{table(match[2])}\n{match[3]}", text)


def table(name: str) -> str:
    """Return the table of a definition's fields. Raises KeyError for an unknown definition."""
    schema = DEFINITIONS[name]
    lines = ["| field | type | meaning |", "| --- | --- | --- |"]
    if isinstance(schema.get("items"), list):
        lines[0] = lines[0].replace("field", "position")
        rows = [(f"{place}: {item['title']}", item, True) for place, item in enumerate(schema["items"])]
    else:
        rows = [(f"`{field}`", inner, always) for field, inner, always in _fields(schema)]
    for field, inner, always in rows:
        kind = _in_words(inner).replace("|", "\\|") + ("" if always else ", optional")
        lines.append(f"| {field} | {kind} | {inner.get('description', '')} |")
    return "\n".join(lines) + "\n"


def _in_words(schema: Schema) -> str:
    """Return a type in words; the definitions by what they are."""
    words = WORDS.write(schema)
    named = {name: f"`[{', '.join(item['title'] for item in inner['items'])}]`" for name, inner in _ROWS.items()}
    for name, text in {**_NAMED, **named}.items():
        words = re.sub(rf"\b{name}\b", text, words)
    *first, last = words.split(" | ")
    return f"{', '.join(first)} or {last}" if first else last


_ROWS: Final = {name: schema for name, schema in DEFINITIONS.items() if isinstance(schema.get("items"), list)}
_NAMED: Final = {
    "DecimalText": "decimal as text",
    "UnixTime": "integer",
    "Amount": "decimal as published, or null",
    "OwnOrder": "order as in `orderbook`, or only its `id`",
    "TradeOfOrder": "objects",
}


OUTPUTS: Final[dict[Path, Callable[[], str]]] = {
    ROOT / "clients" / "python" / "src" / "peatio_client" / "channels.py": python,
    ROOT / "clients" / "js" / "types" / "channels.d.mts": typescript,
    ROOT / "docs" / "channels.md": page,
}
"""What is generated, and by which function."""

if __name__ == "__main__":
    for path, make in OUTPUTS.items():
        path.write_text(make())
