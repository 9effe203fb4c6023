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

LANGUAGES = ("sh", "output")

_HEAD = """
export PYTHONPATH={root}
at_exit() {{
    status=$?
    for job in $(jobs -p); do kill -- -$job || true; done
    [ $status = 0 ] || {{ echo "$AT: status $status"; cat "$OUTPUT"; }}
}}
trap at_exit EXIT
"""


def program(blocks: Iterable[Block], folder: Path, replace: Mapping[str, str]) -> str:
    """Return a bash program that runs the blocks of a page in order and compares their outputs.

    Args:
        folder: for the outputs; it exists.
        replace: texts of the page, such as addresses, and what stands in their place in this run.

    Raises:
        ValueError: an output without a command above it, or an unknown instruction.
    """
    parts, background, last = [_HEAD.format(root=shlex.quote(str(ROOT)))], dict[str, Path](), None
    for block in blocks:
        path, text = folder / f"{block.line}.txt", block.text
        for old, new in replace.items():
            text = text.replace(old, new)
        parts.append(f"AT={shlex.quote(str(block))}")
        if block.language == "output":
            name = (block.how or "").removeprefix("of ")
            compared = background[name] if name else last
            if compared is None:
                raise ValueError(f"{block}: no command above prints this")
            path.write_text(text)
            whole = [] if compared in background.values() else ["whole"]
            words = [sys.executable, "-m", compare_output.__name__, str(compared), str(path), *whole]
            parts.append(shlex.join(words))
            continue
        last = path
        group = f'OUTPUT={shlex.quote(str(path))}\n{{\n{text}\n}} > "$OUTPUT" 2>&1 < /dev/null'
        match (block.how or "").split():
            case []:
                parts.append(group)
            case ["background", name]:
                background[name] = path
                parts.append(f"set -m\n{group} &\nset +m")  # a separate process group, which the trap ends
            case ["status", status]:
                parts.append(f"status=0\n{group} || status=$?\n[ $status = {status} ]")
            case _:
                raise ValueError(f"{block}: unknown instruction: {block.how}")
    return "\n".join(parts)
