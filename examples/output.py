"""Print lines. If the reader has closed the pipe, as `| head` does, exit without a traceback."""

from __future__ import annotations

import os
import sys


def show(*words: object) -> None:
    try:
        print(*words, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it again at exit
        sys.exit()
