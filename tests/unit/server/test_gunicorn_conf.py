"""gunicorn's settings as `gunicorn wsgi` reads them from the environment, in a new process each time."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import ROOT
from tests.unit.samples import environment

CONFIG = ROOT / "peatio_ws" / "server" / "gunicorn.conf.py"
READ = """
import gc, json, os, resource, runpy, sys
limit = resource.RLIMIT_NOFILE
resource.setrlimit(limit, (256, resource.getrlimit(limit)[1]))
found = runpy.run_path(sys.argv[1])
names = "bind workers worker_class worker_connections graceful_timeout keyfile certfile worker_tmp_dir".split()
folder = os.environ["PROMETHEUS_MULTIPROC_DIR"]
more = {"folder": folder, "there": os.path.isdir(folder), "open_files": resource.getrlimit(limit)[0]}
more["frozen"] = gc.get_freeze_count()
print(json.dumps({name: found[name] for name in names} | more))
"""


def read(tmp_path: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", READ, str(CONFIG)]
    whole = {**kept, **environment(AMQP_URL="memory://"), **environ}
    return subprocess.run(command, env=whole, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)


def settings(tmp_path: Path, **environ: str) -> dict[str, Any]:
    done = read(tmp_path, **environ)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_settings_follow_the_environment(tmp_path: Path) -> None:
    environ = {
        "WEBSOCKET_HOST": "::1",
        "WEBSOCKET_PORT": "8081",
        "WEBSOCKET_MAX_CONNECTIONS": "300",
        "WEBSOCKET_DRAIN_SECONDS": "20",
    }
    found = settings(tmp_path, **environ)
    assert found["bind"] == "[::1]:8081"
    assert found["workers"] == 1
    assert found["worker_class"] == "peatio_ws.worker.Worker"
    assert found["worker_connections"] > 300, "a client over the limit has to be answered"
    assert found["graceful_timeout"] > 20
    assert (found["keyfile"], found["certfile"]) == (None, None)
    assert found["open_files"] == 600, "the process was allowed 256"
    assert found["frozen"] > 10_000, "a collection of a worker would copy the memory of imported modules"


def test_documents_name_the_hooks_that_the_gateway_needs() -> None:
    """An application that defines one of them has to call the gateway's."""
    tree = ast.parse(CONFIG.read_text())
    hooks = [one.name for one in tree.body if isinstance(one, ast.FunctionDef) and not one.name.startswith("_")]
    said = (ROOT / "docs" / "legacy.md").read_text()
    named = said[said.index("The gateway's file defines the hooks") :].partition(".\n")[0]
    assert re.findall(r"`(\w+)`", named.partition("If you")[0]) == hooks


def test_metrics_folder_exists_as_long_as_the_process(tmp_path: Path) -> None:
    found = settings(tmp_path)
    assert found["there"]
    assert Path(found["folder"]).parent == tmp_path
    assert not list(tmp_path.iterdir())


def test_metrics_folder_of_the_operator_is_used_and_kept(tmp_path: Path) -> None:
    own = tmp_path / "figures"
    own.mkdir()
    assert settings(tmp_path, PROMETHEUS_MULTIPROC_DIR=str(own))["folder"] == str(own)
    assert own.is_dir()


def test_metrics_folder_of_another_gateway_is_not_used(tmp_path: Path) -> None:
    other = tmp_path / "peatio_ws-metrics-1-x"
    other.mkdir()
    assert settings(tmp_path, PROMETHEUS_MULTIPROC_DIR=str(other))["folder"] != str(other)
    assert other.is_dir()


@pytest.mark.parametrize(
    ("environ", "faults"),
    [
        ({"WEBSOCKET_PORT": "x"}, ["WEBSOCKET_PORT"]),
        ({"WEBSOCKET_PORT": "x", "LOG_LEVEL": "loud"}, ["LOG_LEVEL", "WEBSOCKET_PORT"]),
    ],
)
def test_all_wrong_settings_are_reported_and_no_file_is_left(
    tmp_path: Path, environ: dict[str, str], faults: list[str]
) -> None:
    done = read(tmp_path, **environ)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert sorted(line.split()[1].partition("=")[0] for line in lines) == faults
    assert all(line.startswith("configuration: ") for line in lines)
    assert not list(tmp_path.iterdir())
