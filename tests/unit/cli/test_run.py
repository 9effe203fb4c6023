"""`run`: gunicorn's environment, and the text that is printed before it starts."""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from pathlib import Path

import pytest
from click.testing import Result

from peatio_ws.auth.keys import public_text
from peatio_ws.auth.verifier import Verifier
from peatio_ws.config.settings import Settings
from peatio_ws.monitoring import metrics_folder
from peatio_ws.server import listen_addresses
from peatio_ws.simulator import simulation
from tests.support.gateway import ROOT
from tests.unit.cli.calling import call, fails
from tests.unit.samples import private_key


def started(*_: object) -> None:
    raise AssertionError("started with a faulty environment")


def test_run_reports_all_faults_and_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "execve", started)
    said = fails("run", WEBSOCKET_PORT="http", LOG_LEVEL="loud")
    assert "WEBSOCKET_PORT" in said
    assert "LOG_LEVEL" in said


def test_run_without_a_folder_for_metrics_ends_before_its_welcome(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen_addresses, "check_addresses", lambda *_: None)
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "none"))
    monkeypatch.setattr(metrics_folder, "MEMORY", str(folder / "none"))
    monkeypatch.setattr(os, "execve", started)
    said = fails("run")
    assert "TMPDIR: no temporary folder is writable" in said
    assert "A Peatio WebSocket gateway" not in said
    start("run", PROMETHEUS_MULTIPROC_DIR=str(folder))


class Started(Exception):
    """Raised when the process would be replaced by gunicorn."""

    def __init__(self, *command: object) -> None:
        super().__init__(*command)
        self.arguments: list[str] = command[1]  # type: ignore[assignment]
        self.environ: dict[str, str] = command[2]  # type: ignore[assignment]


def start(line: str, **environ: str) -> tuple[Result, dict[str, str]]:
    """Return what is printed, and gunicorn's environment."""
    result, started = replaced_by(line, **environ)
    return result, started.environ


def replaced_by(line: str, **environ: str) -> tuple[Result, Started]:

    def instead(*command: object) -> None:
        raise Started(*command)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "execve", instead)
        patch.setattr(
            listen_addresses, "check_addresses", lambda *_: None
        )  # nothing is served: port 8080 may be in use
        result = call(line, **environ)
    assert isinstance(result.exception, Started), result.output
    return result, result.exception


def test_run_configures_gunicorn_and_serves_the_given_app(folder: Path) -> None:
    (folder / "mine.py").write_text("")
    for line, app in (("run", "peatio_ws.wsgi"), ("run mine:application", "mine:application")):
        arguments = replaced_by(line)[1].arguments
        *_, config, served = arguments
        assert Path(config).read_bytes() == (ROOT / "gunicorn.conf.py").read_bytes()
        assert served == app


@pytest.mark.parametrize("app", ["yours", "yours:application", "mine.py", "mine.py:application", "README.md", ":a"])
def test_run_reports_a_missing_application(folder: Path, app: str) -> None:
    (folder / "mine.py").write_text("")
    assert f"{app}: no such module here" in fails(f"run {app}")


def test_run_without_a_broker_simulates_and_prints_a_valid_token() -> None:
    result, environ = start("run")
    gateway = Settings.from_env(environ)
    assert gateway.embedded
    assert gateway.simulation
    (message,) = re.findall(r'\{"jwt":.*\}', result.output)
    scheme, bearer = json.loads(message)["jwt"].split()
    identity = Verifier(gateway.token_rules).verify(bearer, time.time())
    assert (scheme, identity.uid, identity.member_id) == ("Bearer", simulation.MEMBER, simulation.MEMBER_ID)


@pytest.mark.parametrize(
    ("variables", "shown"),
    [
        ({}, "http://127.0.0.1:8080/\n"),
        ({"WEBSOCKET_HOST": "::1", "WEBSOCKET_PORT": "81"}, "http://[::1]:81/\n"),
        ({"WEBSOCKET_CONSOLE": "false"}, None),
    ],
)
def test_run_prints_the_console_address(variables: dict[str, str], shown: str | None) -> None:
    result, _ = start("run", **variables)
    assert ("http" in result.output) is (shown is not None)
    assert shown is None or f"    {shown}" in result.output


def test_run_with_an_application_does_not_promise_the_console(folder: Path) -> None:
    """An application that answers plain HTTP has its own page there."""
    (folder / "mine.py").write_text("")
    result, _ = start("run mine:application")
    assert "Your application:\n    http://127.0.0.1:8080/\n" in result.output
    assert "The console is off if your application serves pages; WEBSOCKET_CONSOLE=true serves it" in result.output
    assert "in a browser" not in result.output
    for variable, said in (("true", "at / if your application answers 404 there"), ("false", "off (WEBSOCKET")):
        result, _ = start("run mine:application", WEBSOCKET_CONSOLE=variable)
        assert "Your application:\n    http://127.0.0.1:8080/\n" in result.output
        assert f"The console is {said}" in result.output
    assert "peatio_ws run mine:application\n" in result.output
    result, _ = start("run")
    assert "Open it in a browser, and trade:" in result.output
    assert "peatio_ws run\n" in result.output


def test_run_warns_of_a_gunicorn_configuration_that_it_does_not_use(folder: Path) -> None:
    own = folder / "gunicorn.conf.py"
    assert "Warning" not in start("run")[0].output
    own.write_bytes((ROOT / "gunicorn.conf.py").read_bytes())
    assert "Warning" not in start("run")[0].output, "in a checkout, it is the gateway's own"
    own.write_text("def worker_exit(server, worker): ...")
    result, _ = start("run", AMQP_URL="amqp://host", JWT_PUBLIC_KEY=public_text(private_key()))
    assert result.stderr.startswith("Warning: gunicorn.conf.py in this folder is not used")


def test_run_without_a_broker_can_be_told_not_to_simulate(folder: Path) -> None:
    assert "neither AMQP_URL nor RABBITMQ_HOST is set" in fails("run --no-simulation")
    assert not (folder / ".run").exists()
    key = public_text(private_key())
    result, environ = start("run --no-simulation", RABBITMQ_HOST="mq", JWT_PUBLIC_KEY=key)
    assert not Settings.from_env(environ).embedded
    assert "simulated" not in result.output


def test_run_on_a_unix_socket_prints_no_address(folder: Path) -> None:
    result, _ = start("run", WEBSOCKET_UNIX=str(folder / "socket"))
    assert str(folder / "socket") in result.output
    assert "://" not in result.output


def test_run_uses_its_key_again() -> None:
    assert start("run")[1]["JWT_PUBLIC_KEY"] == start("run")[1]["JWT_PUBLIC_KEY"]


def test_run_with_a_broker_does_not_simulate_or_create_a_key(folder: Path) -> None:
    key = public_text(private_key())
    _, environ = start("run", AMQP_URL="amqp://host", JWT_PUBLIC_KEY=key)
    assert not Settings.from_env(environ).simulation
    assert not (folder / ".run").exists()
    assert "JWT_PUBLIC_KEY" in fails("run", AMQP_URL="amqp://host")
