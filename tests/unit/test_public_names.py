"""The package's public names are imported on first use, so that publishers do not load the gateway."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import peatio_ws
from tests.support.gateway import ROOT
from tests.unit.samples import environment

GATEWAY_ONLY = ["gevent", "geventwebsocket", "gunicorn", "prometheus_client", "redis", "structlog", "websockets"]


def loaded_by(program: str) -> list[str]:
    """Run a program in a separate process. Return the gateway's libraries that it loads."""
    program += f"\nimport sys; print(*[name for name in {GATEWAY_ONLY} if name in sys.modules])"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()


def test_importing_the_publisher_loads_no_gateway_libraries() -> None:
    assert loaded_by("import peatio_ws.publisher") == []


PUBLISHES = """
from peatio_ws.errors import PublishError
from peatio_ws.publisher import Publisher
try:
    Publisher("amqp://127.0.0.1:1/").to_member("IDANN", "order", {"id": 1})
except PublishError:
    pass
else:
    raise SystemExit("nothing listens on port 1")
"""


def test_publishing_loads_no_gateway_libraries() -> None:
    assert loaded_by(PUBLISHES) == []


def test_gateway_loads_its_libraries() -> None:
    """Otherwise the tests above would check for the wrong names."""
    gateway = "from peatio_ws import Gateway; import peatio_ws.worker, peatio_ws.cluster.redis_state"
    assert loaded_by(gateway) == GATEWAY_ONLY


def test_gateway_without_redis_does_not_load_its_library(tmp_path: Path) -> None:
    program = "from peatio_ws import Gateway; import peatio_ws.worker; Gateway.from_env()"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(AMQP_URL="memory://").items():
            patch.setenv(name, value)
        patch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
        patch.delenv("REDIS_URL", raising=False)
        assert set(loaded_by(program)) == set(GATEWAY_ONLY) - {"redis"}


@pytest.mark.parametrize("name", peatio_ws.__all__)
def test_public_names_exist(name: str) -> None:
    assert getattr(peatio_ws, name) is not None
    assert name in dir(peatio_ws)


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Gatway"):
        peatio_ws.Gatway  # type: ignore[attr-defined]  # noqa: B018


def test_a_type_checker_reads_the_same_modules_as_the_interpreter() -> None:
    tree = ast.parse(Path(peatio_ws.__file__).read_text())
    (checking,) = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in checking.body if isinstance(node, ast.ImportFrom)]
    assert {alias.name: node.module for node in imports for alias in node.names} == {
        name: f"peatio_ws.{module}" for name, module in peatio_ws._MODULES.items()
    }
