"""Run several commands at the same time.

    python -m tests.programs.side_by_side "make lint" "make unit" "make system"

The output of the last command is shown at once, that of the others when they have ended. The status is the first one
that is not 0, in the order of the commands.
"""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Sequence


class Command:
    """A running command."""

    def __init__(self, line: str, shown: bool) -> None:
        self._line, self._began = line, time.monotonic()
        pipe = {} if shown else {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self._process = subprocess.Popen(shlex.split(line), **pipe)  # type: ignore[call-overload]
        self._thread = threading.Thread(target=self._print_output)
        self._thread.start()

    def _print_output(self) -> None:
        output, _ = self._process.communicate()
        took = f"{time.monotonic() - self._began:.0f} s"
        said = output.decode() if output else ""
        result = f"status {self._process.returncode}" if self._process.returncode else "ok"
        print(f"\n{said}== {self._line}: {result}, {took}", flush=True)

    def status(self) -> int:
        """Wait for its end, even after Ctrl-C: the command receives that too, and may have to clean up."""
        while self._thread.is_alive():
            with contextlib.suppress(KeyboardInterrupt):
                self._thread.join()
        return self._process.returncode


def main(lines: Sequence[str]) -> int:
    commands = [Command(line, shown=number == len(lines)) for number, line in enumerate(lines, 1)]
    statuses = [command.status() for command in commands]
    return next((1 if status < 0 else status for status in statuses if status), 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
