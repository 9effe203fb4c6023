"""Each limit is set in a new process, which cannot raise its hard limit again."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from peatio_ws.server import open_files
from tests.support.gateway import ROOT

ALLOW = """
import resource, sys
from peatio_ws.server import open_files
soft, hard, files = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
open_files.allow(files)
print(*open_files.limits(), "gevent" in sys.modules)
"""


@pytest.mark.parametrize(
    ("soft", "hard", "files", "allowed"),
    [(200, 700, 600, 600), (200, 500, 600, 500), (650, 700, 600, 650)],
    ids=["enough", "up to the hard limit", "unchanged"],
)
def test_the_soft_limit_is_raised_as_far_as_allowed(soft: int, hard: int, files: int, allowed: int) -> None:
    command = [sys.executable, "-c", ALLOW, str(soft), str(hard), str(files)]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    said = subprocess.check_output(command, env=environ, text=True, timeout=60)
    assert said.split() == [str(allowed), str(hard), "False"]


def test_a_worker_needs_more_files_than_connections() -> None:
    assert open_files.needed(10_000) == 10_300
