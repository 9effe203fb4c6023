"""The shell commands of a page and the output that the page shows, as one bash program that checks itself.

docs/contributing.md describes how a page is written; `compare_output.py` compares. Knows no gateway.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.support import compare_output
from tests.support.documents import Block
from tests.support.gateway import ROOT

COMMAND = ["bash", "-euo", "pipefail", "-s"]

_HEAD = """
at_exit() {
    status=$?
    for job in $(jobs -p); do kill -- -$job || true; done
    [ $status = 0 ] || { echo "$AT: status $status"; cat "$OUTPUT"; }
}
trap at_exit EXIT
"""


def belongs(block: Block) -> bool:
    """Return whether a block is part of the program of its page: a command, an output, or a file."""
    return block.language in ("sh", "output") or (block.how or "").startswith("file ")


def program(blocks: Iterable[Block], folder: Path, replace: Mapping[str, str]) -> str:
    """Return a bash program that runs the blocks of a page in order and compares their outputs.

    Args:
        folder: an existing folder for the outputs.
        replace: texts of the page, such as addresses, and their replacements in this run.

    Raises:
        ValueError: an output without a command above it, or an unknown instruction.
    """
    script = _Script(folder)
    for block in blocks:
        text = block.text
        for old, new in replace.items():
            text = text.replace(old, new)
        script.add(block, text)
    return "\n".join(script.parts)


class _Script:
    """A program under construction."""

    def __init__(self, folder: Path) -> None:
        self.parts = [_HEAD]
        self._folder = folder
        self._background: dict[str, Path] = {}  # outputs of commands in the background
        self._last: Path | None = None  # the output of the last command

    def add(self, block: Block, text: str) -> None:
        path = self._folder / f"{block.line}.txt"
        self.parts.append(f"AT={shlex.quote(str(block))}")
        if block.language == "output":
            self._compare(block, path, text)
            return
        group = f'OUTPUT={shlex.quote(str(path))}\n{{\n{text}\n}} > "$OUTPUT" 2>&1 < /dev/null'
        match (block.how or "").split():
            case ["file", name]:
                path.write_text(text)
                self.parts.append(shlex.join(["cp", str(path), name]))
                return
            case []:
                self.parts.append(group)
            case ["background", name]:
                self._background[name] = path
                self.parts.append(f"set -m\n{group} &\nset +m")  # a separate process group, which the trap ends
            case ["status", status]:
                self.parts.append(f"status=0\n{group} || status=$?\n[ $status = {status} ]")
            case _:
                raise ValueError(f"{block}: unknown instruction: {block.how}")
        self._last = path

    def _compare(self, block: Block, path: Path, text: str) -> None:
        name = (block.how or "").removeprefix("of ")
        output = self._background[name] if name else self._last
        if output is None:
            raise ValueError(f"{block}: no command above prints this")
        path.write_text(text)
        whole = [] if output in self._background.values() else ["whole"]
        command = [sys.executable, "-m", compare_output.__name__, str(output), str(path), *whole]
        self.parts.append(f"PYTHONPATH={shlex.quote(str(ROOT))} {shlex.join(command)}")
