"""The files of `deploy/`, as far as they can be tested without their engines: schemas, linters, and references between
files and to the gateway.

`test_behind_nginx.py` and `test_behind_envoy.py` run the proxies' files; `test_helm_chart.py` renders the chart.
"""

from __future__ import annotations

import functools
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.registry import REGISTRY

from peatio_ws.auth import keys
from peatio_ws.config.settings import Settings
from peatio_ws.monitoring import metrics  # noqa: F401  (registers its metrics)
from tests.support import documents as pages
from tests.support import stranger
from tests.support.gateway import ROOT, GatewayProcess, Signer
from tests.support.raw_client import RawClient
from tests.support.servers import START_SECONDS, RabbitMQ, wait_until
from tests.support.serving import authenticated

DEPLOY = ROOT / "deploy"
GRACE = Settings.limits_from_env({}).drain_seconds + 12
"""Gunicorn's `graceful_timeout` in seconds, with no variable set."""


def text(name: str) -> str:
    return (DEPLOY / name).read_text()


@functools.cache
def documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all(text(name)))


def tool(name: str) -> str:
    """Return the path of a command, from this virtual environment or the machine."""
    own = Path(sys.executable).with_name(name)
    found = str(own) if own.exists() else shutil.which(name)
    assert found is not None, f"{name} is missing; `make .venv/.test-ready servers` installs it"
    return found


def seconds(duration: str) -> float:
    found = re.fullmatch(r"(\d+)s?", str(duration))
    assert found, duration
    return float(found[1])


def test_no_variable_is_unknown() -> None:
    named = set[str]()
    for name in ("Dockerfile", "compose.yaml", "nginx.conf", "peatio-ws@.service", "peatio-ws.socket"):
        named |= set(re.findall(r"\b(?:WEBSOCKET|JWT|AMQP|METRICS|REDIS|LOG|WEB|TRUSTED)_[A-Z_]+\b", text(name)))
    fields = Settings.model_fields.values()
    known = {str(one) for field in fields for one in getattr(field.validation_alias, "choices", ())}
    assert named <= known | {"JWT_PUBLIC_KEY", "JWT_PUBLIC_KEYS"}


def test_metrics_in_the_dashboard_exist() -> None:
    named = set(
        re.findall(r"\bpeatio_ws_[a-z_]+", text("grafana.json") + (ROOT / "docs" / "operations.md").read_text())
    )
    ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
    there = {f"{one.name}{end}" for one in REGISTRY.collect() for end in ends.get(one.type, ())}
    assert named <= there


# ---- containers


def test_dockerfile() -> None:
    assert subprocess.run([tool("hadolint"), DEPLOY / "Dockerfile"], capture_output=True).stdout == b""
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", text("Dockerfile"), re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    ignored, *let_in = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] not in "#"]
    assert ignored == "*"
    assert names == {line[1:] for line in let_in if line.startswith("!")}
    assert all((ROOT / name).exists() for name in names)


def test_health_check_of_the_image(folder: Path, signer: Signer) -> None:
    check = json.loads(text("Dockerfile").partition("    CMD ")[2].splitlines()[0])
    assert check[0] == "python"
    gateway = GatewayProcess(folder, {**signer.environ, "AMQP_URL": "amqp://guest:guest@127.0.0.1:1//"}, wait=False)
    command = [sys.executable, *check[1:]]
    environ = {"METRICS_PORT": str(gateway.metrics_port)}
    try:
        wait_until(lambda: gateway.operators("/healthz")[0] == 200, "the gateway is alive", START_SECONDS)
        assert gateway.operators("/readyz")[0] == 503
        assert subprocess.run(command, env=environ, check=False).returncode == 0, "the check passed without a broker"
    finally:
        gateway.stop()
    assert subprocess.run(command, env=environ, check=False, capture_output=True).returncode != 0


def test_compose_file() -> None:
    from compose_spec import PyCompose

    (whole,) = documents("compose.yaml")  # yaml resolves its merge keys (<<)
    PyCompose.from_json(json.dumps(whole))
    with pytest.raises(ValueError, match="stop_grace_perio"):
        PyCompose.from_json(json.dumps(whole).replace("stop_grace_period", "stop_grace_perio"))

    services = whole["services"]
    address = services["nginx"]["networks"]["inside"]["ipv4_address"]
    for name in ("gateway-1", "gateway-2"):
        assert f"server {name}:8080 " in text("nginx.conf")
        assert services[name]["environment"]["TRUSTED_PROXIES"] == address
        assert seconds(services[name]["stop_grace_period"]) > GRACE
        assert services[name]["ulimits"]["nofile"] > Settings.limits_from_env({}).max_connections
        assert services[name]["healthcheck"]["test"][1] == "python"
    published = [services[name]["ports"] for name in ("gateway-1", "gateway-2")]
    assert published == [["127.0.0.1:4242:4242"], ["127.0.0.1:4243:4242"]]
    mounted = [line.split(":")[1] for line in services["nginx"]["volumes"]]
    assert re.findall(r"ssl_certificate\w* +(\S+)/\w+\.pem", text("nginx.conf")) == [mounted[1]] * 2


@pytest.mark.parametrize("algorithm", ["RS256", "EdDSA"])
def test_compose_file_needs_only_a_key_of_barong_and_a_password(algorithm: str) -> None:
    """Compose passes a variable that is not set as an empty text."""
    given = {"JWT_PUBLIC_KEY": keys.public_text(keys.new_private_key(algorithm)), "RABBITMQ_PASSWORD": "s3cret"}
    (whole,) = documents("compose.yaml")

    def interpolated(value: object) -> str:
        variable = r"\$\{(\w+)(?::-([^}]*)|:\?[^}]*)\}"
        return re.sub(variable, lambda found: given.get(found[1], found[2] or ""), str(value))

    environ = {name: interpolated(value) for name, value in whole["services"]["gateway-1"]["environment"].items()}
    assert Settings.from_env(environ).jwt_algorithm == algorithm


# ---- systemd


VENV = Path("/opt/peatio-ws/.venv")
"""Where the documents install the package."""


def start_command() -> list[str]:
    """Return the words of the service unit's `ExecStart`."""
    return re.findall(r"^ExecStart=(.+)$", text("peatio-ws@.service"), re.MULTILINE)[0].split()


def units(folder: Path) -> list[Path]:
    """Return two instances of the service unit, with a command of this machine, and the socket unit."""
    there = text("peatio-ws@.service").replace(start_command()[0], sys.executable)
    for name, content in (
        *((f"peatio-ws@{instance}.service", there) for instance in (1, 2)),
        ("peatio-ws.socket", text("peatio-ws.socket")),
    ):
        (folder / name).write_text(content)
    return sorted(folder.glob("peatio-ws*"))


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    found = subprocess.run([tool("systemd-analyze"), "verify", *units(tmp_path)], capture_output=True, text=True)
    assert (found.returncode, found.stdout + found.stderr) == (0, "")
    assert int(re.findall(r"^TimeoutStopSec=(\d+)$", text("peatio-ws@.service"), re.MULTILINE)[0]) > GRACE
    found = subprocess.run(
        [tool("systemd-analyze"), "security", "--offline=yes", "--threshold=20", tmp_path / "peatio-ws@1.service"],
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stdout


def test_each_gateway_under_systemd_has_its_own_folder_for_its_socket() -> None:
    (template,) = re.findall(r"^RuntimeDirectory=(\S+)$", text("peatio-ws@.service"), re.MULTILINE)
    folders = [str(Path(path).parent) for path in re.findall(r"server unix:(\S+) ", text("nginx.conf"))]
    assert folders == [f"/run/{template.replace('%i', instance)}" for instance in ("1", "2")]


def test_unit_and_documents_use_one_virtual_environment() -> None:
    assert Path(start_command()[0]) == VENV / "bin" / "peatio-ws"
    install = f"{VENV}/bin/pip install ."
    for page, commands in (("migrating.md", (f"python3 -m venv {VENV}", install)), ("operations.md", (install,))):
        shown = "".join(block.text for block in pages.blocks(ROOT / "docs" / page) if block.language == "sh")
        assert [command for command in commands if command not in shown] == []


class Activated(GatewayProcess):
    """A gateway that is started like a systemd service with a socket unit and `Type=notify`.

    Args:
        words: what is started, in an empty folder.
    """

    def __init__(self, folder: Path, environ: dict[str, str], words: list[str]) -> None:
        self.words = words
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notified.bind(str(folder / "notify.sock"))
        self.notified.settimeout(START_SECONDS)
        port = self.socket.getsockname()[1]
        given = {"NOTIFY_SOCKET": str(folder / "notify.sock"), "WEBSOCKET_PORT": str(port), "PYTHONPATH": ""}
        (folder / "empty").mkdir()
        super().__init__(folder, {**environ, **given}, cwd=folder / "empty", wait=False)
        self.port = port

    def start(self, wait: bool = True) -> None:
        fd = self.socket.fileno()
        script = f'exec env LISTEN_PID=$$ LISTEN_FDS=1 "$@" 3<&{fd} {fd}<&-'
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                ["/bin/bash", "-c", script, "bash", *self.words],
                cwd=self.cwd,
                env=self.environ,
                stdout=log,
                stderr=log,
                pass_fds=[fd],
            )


def test_new_connections_wait_for_a_restarting_service(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, broker: RabbitMQ, signer: Signer
) -> None:
    """The command of the unit with the installed package, as with the socket unit and Type=notify, but without systemd.

    Such a service refuses USR2.
    """
    installed = stranger.installed(tmp_path_factory) / ".venv"
    words = [word.replace(str(VENV), str(installed)) for word in start_command()]
    environ = {**signer.environ, "AMQP_URL": broker.url, "WEBSOCKET_DRAIN_SECONDS": "0.2"}
    gateway = Activated(tmp_path, environ, words)
    try:
        with RawClient(gateway.port) as first:
            authenticated(first, signer.token("IDANN"))  # connected before the gateway was ready
            assert gateway.notified.recv(1000).startswith(b"READY=1")
            assert gateway.process is not None
            gateway.process.send_signal(signal.SIGUSR2)
            wait_until(lambda: "USR2 refused" in gateway.log(), "the reason is logged")
            gateway.process.terminate()
            assert first.closed()[0] == 1012
        gateway.stop()
        with RawClient(gateway.port) as second:  # the kernel accepts it, no process serves it yet
            gateway.start()
            authenticated(second, signer.token("IDBOB"))
        assert gateway.notified.recv(1000).startswith(b"READY=1")
    finally:
        gateway.stop()
        gateway.socket.close()
        gateway.notified.close()
