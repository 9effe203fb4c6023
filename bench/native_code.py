"""Compile the two C programs, clients.c and floor.c."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_SOURCES = Path(__file__).parent / "native"


def build(name: str, folder: Path) -> Path:
    """Compile a program, and return its path. Raises SystemExit if no compiler is installed."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise SystemExit("the bench needs a C compiler; on Debian: apt-get install gcc libc6-dev libssl-dev")
    program = folder / name
    source = _SOURCES / f"{name}.c"
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-o", program, source, "-lssl", "-lcrypto"], check=True)
    return program
