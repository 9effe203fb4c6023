"""Runs a module that Ctrl-C ends, even if a shell started the tests in the background, where SIGINT is ignored.

python -m tests.support.interruptible MODULE [ARGUMENT ...]
"""

from __future__ import annotations

import runpy
import signal
import sys

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
