"""The pictures of the life cycles in docs/architecture.md, drawn from the tables in the code.

    python -m tests.programs.life_cycles

Rewrites the sections between the markers `<!-- life cycle: NAME -->` and `<!-- end of life cycle -->`.
`tests/unit/test_life_cycle.py` compares the page with the tables.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from peatio_ws.amqp.history_stream.offset import READER, ReaderState
from peatio_ws.amqp.source_state import SOURCE, SourceState
from peatio_ws.protocol.connection_state import CONNECTION, HANDLER_INPUTS, ConnectionState

PAGE: Final = Path(__file__).parent.parent.parent / "docs" / "architecture.md"
_SECTION: Final = re.compile(r"(<!-- life cycle: ([\w ]+) -->\n).*?(<!-- end of life cycle -->)", re.DOTALL)

Table = Mapping[tuple[enum.Enum, enum.Enum], enum.Enum]


class Cycle(NamedTuple):
    """A life cycle.

    Attributes:
        first: the state in which it begins.
    """

    table: Table
    first: enum.Enum

    @property
    def states(self) -> list[enum.Enum]:
        """Those that can be reached, in the order in which the code lists them."""
        reached = {self.first, *self.table.values()}
        return [state for state in type(self.first) if state in reached]

    @property
    def inputs(self) -> list[enum.Enum]:
        """Those that the table has, in the order in which the code lists them."""
        used = {happened for _, happened in self.table}
        return [happened for happened in type(next(iter(used))) if happened in used]


def restricted(cycle: Cycle, inputs: frozenset[enum.Enum]) -> Cycle:
    """Return the part of a life cycle that these inputs can reach."""
    reached, table = {cycle.first}, dict[tuple[enum.Enum, enum.Enum], enum.Enum]()
    while True:
        table = {pair: after for pair, after in cycle.table.items() if pair[0] in reached and pair[1] in inputs}
        if reached >= set(table.values()):
            return Cycle(table, cycle.first)
        reached |= set(table.values())


_CLIENT: Final = Cycle(CONNECTION, ConnectionState.OPEN)  # type: ignore[arg-type]
CYCLES: Final = {
    "Peatio connection": _CLIENT,
    "handler connection": restricted(_CLIENT, HANDLER_INPUTS),  # type: ignore[arg-type]
    "broker source": Cycle(SOURCE, SourceState.PREFERRED),  # type: ignore[arg-type]
    "history stream": Cycle(READER, ReaderState.CLOSED),  # type: ignore[arg-type]
}
"""By the name in the markers."""


def section(cycle: Cycle) -> str:
    """Return the Markdown of a life cycle: the picture, then what states and inputs mean."""
    lines = ["<!-- not run: a picture -->", "```mermaid", "stateDiagram-v2", f"    [*] --> {cycle.first.name}"]
    edges: dict[tuple[enum.Enum, enum.Enum], list[str]] = {}
    for (before, happened), after in cycle.table.items():
        edges.setdefault((before, after), []).append(_words(happened))
    lines += [f"    {before.name} --> {after.name}: {', '.join(names)}" for (before, after), names in edges.items()]
    ends = [state for state in cycle.states if state not in {before for before, _ in cycle.table}]
    lines += [f"    {state.name} --> [*]" for state in ends]
    lines += ["```", "", "| State | Meaning |", "| --- | --- |"]
    lines += [f"| {state.name} | {state.value} |" for state in cycle.states]
    lines += ["", "| Input | Meaning |", "| --- | --- |"]
    lines += [f"| {_words(happened)} | {happened.value} |" for happened in cycle.inputs]
    return "\n".join(lines)


def drawn(page: str) -> str:
    """Return the page with its sections drawn from the tables. Raises KeyError for a name that is not in `CYCLES`."""
    return _SECTION.sub(lambda match: f"{match[1]}\n{section(CYCLES[match[2]])}\n\n{match[3]}", page)


def names(page: str) -> list[str]:
    """Return the life cycles for which a page has a section."""
    return [match[2] for match in _SECTION.finditer(page)]


def _words(happened: enum.Enum) -> str:
    return happened.name.lower().replace("_", " ")


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text()))
