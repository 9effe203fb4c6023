"""How `run_checks` works: what is skipped, late or fails. Live tests use real servers."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peatio_ws.cli.check import broker_check, redis_check, runner
from peatio_ws.cli.check.report import Finding
from peatio_ws.cli.check.runner import run_checks
from peatio_ws.config.settings import Settings
from tests.support.certificate import Certificate
from tests.support.servers import free_port
from tests.unit.samples import environment


def alone(**more: str) -> dict[str, str]:
    """Return an environment in which only this machine is checked."""
    ports = {"WEBSOCKET_PORT": str(free_port()), "METRICS_PORT": str(free_port()), "WEBSOCKET_HOST": "127.0.0.1"}
    return environment(AMQP_URL="memory://", WEBSOCKET_MAX_CONNECTIONS="10", **ports, **more)


def test_silent_server_is_reported_with_its_earlier_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    said, freed = threading.Event(), threading.Event()

    def silent(*_: object) -> Iterator[Finding]:
        yield Finding("redis", True, "said something")
        said.set()
        freed.wait(30)

    monkeypatch.setattr(redis_check, "redis", silent)
    monkeypatch.setattr(runner, "PROBE_SECONDS", 0.05)
    found = list[Finding]()
    for finding in run_checks(alone(), None):
        if finding.what == "redis":
            found.append(finding)
        elif finding.what == "broker":  # reported before Redis, while all are being asked
            assert said.wait(30)
    freed.set()
    assert [finding.text for finding in found] == ["said something", "no further answer within 0.05 s"]
    assert found[-1].ok is False


def test_unexpected_answer_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Iterator[Finding]:
        raise KeyError("surprise")
        yield

    monkeypatch.setattr(redis_check, "redis", broken)
    (found,) = (finding for finding in run_checks(alone(), None) if finding.what == "redis")
    assert (found.ok, "surprise" in found.text) == (False, True)


def asked(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]) -> tuple[set[str], list[Finding]]:
    """Return what was checked, and all findings."""

    def nothing(what: str) -> Callable[..., Iterator[Finding]]:
        return lambda *_: iter([Finding(what, True, "looked at")])

    monkeypatch.setattr(broker_check, "broker", nothing("broker"))
    monkeypatch.setattr(redis_check, "redis", nothing("redis"))
    for name, what in (("_keys", "keys"), ("_ports", "port"), ("_files", "files"), ("_metrics_folder", "files")):
        monkeypatch.setattr(runner, name, nothing(what))
    found = list(run_checks(environ, None))
    return {finding.what for finding in found if finding.text == "looked at"}, found


EVERYTHING = {"broker", "redis", "keys", "port", "files"}


@pytest.mark.parametrize(
    ("broken", "left_out"),
    [
        ({}, set()),
        ({"LOG_LEVEL": "loud"}, set()),
        ({"JWT_PUBLIC_KEY": "x"}, {"keys"}),
        ({"JWT_PUBLIC_KEY": "", "REDIS_URL": "x"}, {"keys", "redis"}),
        ({"JWT_ALGORITHM": "x", "JWT_DEFAULT_LEEWAY": "x"}, {"keys"}),
        ({"AMQP_URL": "x"}, {"broker"}),
        ({"RABBITMQ_PORT": "x", "AMQP_URL": ""}, {"broker"}),
        ({"WEBSOCKET_PORT": "x"}, {"port"}),
        ({"WEBSOCKET_PORT": "81", "METRICS_PORT": "81"}, {"port"}),
        ({"WEB_CONCURRENCY": "2"}, {"files"}),  # conflicts with the in-process broker
        ({"WEB_CONCURRENCY": "x", "WEBSOCKET_SSL_KEY": "/there/is/none"}, {"files", "certificate"}),
        ({"WEBSOCKET_PING_INTERVAL": "99"}, set()),
    ],
)
def test_checks_that_do_not_depend_on_a_fault_are_made(
    monkeypatch: pytest.MonkeyPatch, broken: dict[str, str], left_out: set[str]
) -> None:
    tried, found = asked(monkeypatch, {**alone(), **broken})
    assert tried == EVERYTHING - left_out
    assert {finding.what for finding in found if finding.text.startswith("not tried")} == left_out
    assert any(finding.ok is False for finding in found) is bool(broken)


def test_check_of_this_machine_alone_passes() -> None:
    assert [finding for finding in run_checks(alone(), None) if finding.ok is False] == []


def test_a_gateway_at_another_address_is_not_the_one_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    def serves(address: str, **environ: str) -> bool:
        monkeypatch.setattr(runner, "_answer", lambda *_: runner._Answer(addresses=[address]))
        return runner._serves(Settings.from_env(environment(**environ)))

    assert serves("0.0.0.0:8080")
    assert serves("[::]:8080", WEBSOCKET_PORT="8080")
    assert not serves("127.0.0.1:8080", RANGER_PORT="8090")
    assert serves("/run/1.sock", WEBSOCKET_UNIX="/run/1.sock")
    assert not serves("127.0.0.1:8080", WEBSOCKET_UNIX="/run/1.sock")


def test_the_certificate_of_the_port_is_shown(tmp_path: Path) -> None:
    files = Certificate(tmp_path)
    environ = alone(WEBSOCKET_SSL_CERT=str(files.cert), WEBSOCKET_SSL_KEY=str(files.key))

    def found() -> Finding:
        (one,) = (one for one in run_checks(environ, None) if one.what == "certificate")
        return one

    assert found().ok
    assert found().text.startswith("for localhost, valid until ")
    files.renew(until=datetime.timedelta(seconds=-1))
    assert found().ok is False


def test_unwritable_metrics_folder_is_reported(tmp_path: Path) -> None:
    def found(folder: Path) -> Finding:
        (one,) = (one for one in run_checks(alone(PROMETHEUS_MULTIPROC_DIR=str(folder)), None) if one.what == "metrics")
        return one

    assert found(tmp_path).ok
    missing = found(tmp_path / "none")
    assert missing.ok is False
    assert "No such file" in missing.text
    assert "PROMETHEUS_MULTIPROC_DIR" in missing.remedy
    assert not list(tmp_path.iterdir())


def test_several_workers_without_redis_are_reported_with_a_remedy() -> None:
    def found(workers: str) -> Finding:
        (one,) = redis_check.redis(Settings.from_env(environment(WEB_CONCURRENCY=workers)))
        return one

    assert (found("1").ok, found("1").remedy) == (None, "")
    assert found("3").ok is None
    assert "the 3 workers share no limits" in found("3").text
    assert found("3").remedy == "set REDIS_URL to a Redis that all gateways use, or WEB_CONCURRENCY=1"


def test_misspelt_variable_is_wrong_but_other_programs_are_not() -> None:
    found = list(run_checks({**alone(), "WEBSOCKET_PROT": "81", "REDIS_SERVICE_HOST": "x"}, None))
    wrong = [finding for finding in found if finding.ok is False]
    assert [finding.what for finding in wrong] == ["settings"]
    assert "WEBSOCKET_PROT" in wrong[0].text
    assert "WEBSOCKET_PORT" in wrong[0].remedy
    assert not [finding for finding in found if finding.text == "no fault"]
