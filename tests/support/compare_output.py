"""Compare the output of a command with what a page of the documents shows. A program that loads nothing else.

    python -m tests.support.compare_output OUTPUT SHOWN [whole]

Without `whole`, the command runs in the background and may not have started yet: wait until it has printed what the
page shows. The next comparison starts after that.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

ELLIPSIS = "…"
SECONDS = 60.0
"""How long a command in the background may take to print what the page shows."""


def pattern(shown: str) -> re.Pattern[str]:
    """Return what an output has to match: `…` on the page is any text."""
    return re.compile(re.escape(shown.rstrip()).replace(re.escape(ELLIPSIS), ".*?") + r"\s*(\n|$)", re.DOTALL)


def main(output: Path, shown: Path, *, whole: bool) -> int:
    """Compare two files; return an exit status."""
    wanted, read = pattern(shown.read_text()), output.with_suffix(".read")
    done = int(read.read_text()) if read.exists() else 0
    until = time.monotonic() + (0 if whole else SECONDS)
    while True:
        text = "" if not whole and not output.exists() else output.read_text()[done:]
        if found := wanted.fullmatch(text) if whole else wanted.match(text):
            read.write_text(str(done + found.end()))
            return 0
        if time.monotonic() >= until:
            print(f"The page shows:\n{shown.read_text()}\nThe output:\n{text}")
            return 1
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), whole=sys.argv[3:] == ["whole"]))
