"""With invalid settings `gunicorn wsgi` exits before it serves, with one line for each fault and no traceback."""

from __future__ import annotations

import base64
import json
import re
import shlex
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from peatio_ws.auth import keys
from tests.support import documents
from tests.support.gateway import ROOT, GatewayProcess, Publisher, Signer, receive
from tests.support.servers import RabbitMQ, free_port, wait_until
from tests.unit.samples import raw_pem

SECONDS = 30.0
"""Time limit of a failing start or a command; each takes about one."""

PRIVATE = keys.private_pem(keys.new_private_key("RS256")).decode()
ELLIPTIC = keys.public_text(keys.new_private_key("ES256"))
NO_AMQP_URL = "AMQP_URL is not a URL like amqp://user:password@host:5672/vhost"
NO_PAIR = "WEBSOCKET_SSL_KEY and WEBSOCKET_SSL_CERT go together; one of them is missing"
NO_KEY = (
    "JWT_PUBLIC_KEY is not set; set it to the public half of the key that signs sessions (Barong's), as PEM or "
    "base64 of PEM; `peatio-ws keygen` makes a pair for tests"
)

FAULTS: list[tuple[dict[str, str], list[str]]] = [
    ({"JWT_PUBLIC_KEY": ""}, [NO_KEY]),
    (
        {"JWT_PUBLIC_KEY": PRIVATE},
        ["JWT_PUBLIC_KEY is a private key, and is now exposed; replace the key pair, and set only the public half"],
    ),
    (
        {"JWT_PUBLIC_KEY": "hello, world"},
        [
            "JWT_PUBLIC_KEY is neither PEM nor base64 of PEM; it has to be the text of a public key, for example "
            '"$(cat barong.pem)"'
        ],
    ),
    (
        {"JWT_PUBLIC_KEY": ELLIPTIC},
        ["JWT_PUBLIC_KEY is an EC key on secp256r1, which JWT_ALGORITHM=RS256 cannot use"],
    ),
    (
        {"JWT_ALGORITHM": "none"},
        [f"JWT_ALGORITHM=none: is not one of {', '.join(keys.ALGORITHMS)}"],
    ),
    ({"WEBSOCKET_PORT": "http"}, ["WEBSOCKET_PORT=http: is not a whole number"]),
    ({"WEBSOCKET_PORT": "", "RANGER_PORT": "65536"}, ["RANGER_PORT=65536: has to be 65535 or less"]),
    ({"RABBITMQ_PORT": "amqp"}, ["RABBITMQ_PORT=amqp: is not a port number from 1 to 65535"]),
    ({"AMQP_URL": "http://user:sesame@host/"}, [NO_AMQP_URL]),
    ({"AMQP_URL": "amqp://user:sesame@host:port/"}, [NO_AMQP_URL]),
    ({"REDIS_URL": "localhost:6379"}, ["REDIS_URL is not a URL like redis://host:6379/0"]),
    (
        {"WEBSOCKET_SSL_KEY": "/there/is/none", "WEBSOCKET_SSL_CERT": __file__},
        ["WEBSOCKET_SSL_KEY cannot be read: No such file or directory: /there/is/none"],
    ),
    ({"WEBSOCKET_SSL_KEY": __file__}, [NO_PAIR]),
    (
        {"WEBSOCKET_SSL_KEY": __file__, "WEBSOCKET_SSL_CERT": __file__},
        [
            "WEBSOCKET_SSL_KEY and WEBSOCKET_SSL_CERT are not a matching pair of PEM key "
            "(without a passphrase) and certificate"
        ],
    ),
    ({"AMQP_EXCHANGES_DURABLE": "maybe"}, ["AMQP_EXCHANGES_DURABLE=maybe: is neither true nor false"]),
    ({"LOG_LEVEL": "loud"}, ["LOG_LEVEL=loud: has to be 'debug', 'info', 'warning' or 'error'"]),
    ({"JWT_DEFAULT_LEEWAY": "-1"}, ["JWT_DEFAULT_LEEWAY=-1: has to be 0 or more"]),
    (
        {"WEBSOCKET_UNIX": "/there/is/none.sock"},
        ["WEBSOCKET_UNIX=/there/is/none.sock: cannot listen there: /there/is is not a writable folder"],
    ),
    ({"WEBSOCKET_PORT": "8081", "METRICS_PORT": "8081"}, ["WEBSOCKET_PORT and METRICS_PORT have to differ"]),
    (
        {"JWT_PUBLIC_KEY": "", "WEBSOCKET_PORT": "http", "WEBSOCKET_SSL_KEY": __file__},
        [NO_KEY, "WEBSOCKET_PORT=http: is not a whole number", NO_PAIR],
    ),
]


def run_failing(folder: Path, **environ: str) -> tuple[int, str]:
    """Return status and output of `gunicorn wsgi`, which has to exit and leave nothing in the temporary folder."""
    scratch = folder / "tmp"
    scratch.mkdir(exist_ok=True)
    process = GatewayProcess(folder, {**Signer().environ, **environ, "TMPDIR": str(scratch)}, wait=False)
    assert process.process is not None
    try:
        status = process.process.wait(SECONDS)
    finally:
        process.kill()
    assert list(scratch.iterdir()) == []
    return status, process.log()


@pytest.mark.parametrize(("environ", "lines"), FAULTS, ids=[" ".join(environ) for environ, _ in FAULTS])
def test_each_fault_is_printed_and_no_worker_starts(tmp_path: Path, environ: dict[str, str], lines: list[str]) -> None:
    status, said = run_failing(tmp_path, **environ)
    assert [line for line in said.splitlines() if line.startswith("configuration")] == [
        f"configuration: {line}" for line in lines
    ]
    assert status == 1
    assert "Traceback" not in said
    assert "Booting worker" not in said
    assert "sesame" not in said
    assert PRIVATE[100:140] not in said


def test_misspelt_variable_is_reported_once_and_the_gateway_starts(tmp_path: Path) -> None:
    """Variables of other programs, such as Kubernetes' service variables, are not reported."""
    environ = {**Signer().environ, "AMQP_URL": "memory://", "WEBSOCKET_PNIG_TIMEOUT": "9", "REDIS_SERVICE_HOST": "::1"}
    gateway = GatewayProcess(tmp_path, environ)
    try:
        lines = [json.loads(line) for line in gateway.log().splitlines() if "unknown variable" in line]
    finally:
        gateway.stop()
    assert [(line["level"], line["variable"], line["similar"]) for line in lines] == [
        ("warning", "WEBSOCKET_PNIG_TIMEOUT", "WEBSOCKET_PING_TIMEOUT")
    ]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another process uses."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize(("name", "other"), [("WEBSOCKET", "METRICS"), ("METRICS", "WEBSOCKET")])
def test_port_in_use_is_reported_at_once_by_gunicorn_and_run(tmp_path: Path, taken: int, name: str, other: str) -> None:
    expected = (
        f"{name}_HOST=127.0.0.1 {name}_PORT={taken}: cannot listen there: Address already in use; "
        f"is Rango or another gateway running there? Otherwise set {name}_PORT to another port"
    )
    environ = {f"{name}_PORT": str(taken), f"{other}_PORT": "0"}
    status, said = run_failing(tmp_path, **environ)
    assert f"configuration: {expected}" in said.splitlines()
    assert (status, "Traceback" in said, "Booting worker" in said) == (1, False, False)

    command = ("peatio_ws", "run", "--folder", str(tmp_path / "keys"))
    process = GatewayProcess(tmp_path / "run", environ, command, wait=False)
    assert process.process is not None
    assert process.process.wait(SECONDS) == 1
    assert process.log() == f"Error: the gateway cannot start:\n  {expected}\n"


def test_gunicorns_own_number_of_workers_is_refused_with_the_in_process_broker(tmp_path: Path) -> None:
    status, said = run_failing(tmp_path, AMQP_URL="memory://", GUNICORN_CMD_ARGS="--workers 2")
    text = "gunicorn's --workers has to be 1, because workers cannot share the in-process broker"
    assert f"configuration: {text}; set AMQP_URL to your RabbitMQ" in said.splitlines()
    assert (status, "Traceback" in said, "Booting worker" in said) == (1, False, False)


def test_run_prints_a_listen_command_that_works_in_any_folder(tmp_path: Path) -> None:
    command = ("peatio_ws", "run", "--folder", str(tmp_path / "a folder"))
    gateway = GatewayProcess(tmp_path, {"JWT_AUDIENCE": "peatio", "JWT_ISSUER": "barong"}, command)
    try:
        found = re.search(r"^ +(cd .* listen .*)$", gateway.log(), re.MULTILINE)
        assert found
        shown = subprocess.run(
            ["sh", "-c", f"{found[1]} --count 3"], cwd="/", env={}, capture_output=True, text=True, timeout=SECONDS
        )
        assert shown.returncode == 0, shown.stderr
        assert [next(iter(re.findall(r'"(\w+)"', line))) for line in shown.stdout.splitlines()][:3] == [
            "challenge",
            "success",
            "orderbook",
        ]
        assert shlex.quote(str(tmp_path / "a folder" / "private.pem")) in found[1]
    finally:
        process = gateway.process
        assert process is not None
        process.send_signal(signal.SIGINT)
        wait_until(lambda: process.poll() is not None, "the gateway exits after Ctrl-C")
    assert process.returncode == 0
    assert not gateway.tracebacks()
    assert oct((tmp_path / "a folder" / "private.pem").stat().st_mode)[-3:] == "600"


def test_run_works_outside_the_project_folder(tmp_path: Path, signer: Signer) -> None:
    """Where the package is installed there is no project folder. Also tested with the user's own application."""
    (tmp_path / "mine.py").write_text("from peatio_ws import Gateway\napp = Gateway.from_env()\n")
    for app in ((), ("mine:app",)):
        gateway = GatewayProcess(
            tmp_path, {**signer.environ, "AMQP_URL": "memory://"}, ("peatio_ws", "run", *app), cwd=tmp_path
        )
        try:
            with gateway.connect("public") as client:
                assert receive(client) == {"success": {"message": "subscribed", "streams": []}}
        finally:
            gateway.stop()


def test_hooks_of_an_application_run_with_the_gateways(tmp_path: Path, signer: Signer) -> None:
    """The file that docs/legacy.md shows, started as it says."""
    shown = [block.text for block in documents.blocks(ROOT / "docs" / "legacy.md")]
    (own,) = [text for text in shown if text.startswith("# gunicorn.conf.py")]
    (tmp_path / "gunicorn.conf.py").write_text(own)
    (tmp_path / "mine.py").write_text("from peatio_ws import Gateway\napplication = Gateway.from_env()\n")
    environ = {"AMQP_URL": "memory://", **signer.environ}
    gateway = GatewayProcess(tmp_path / "logs", environ, ("gunicorn", "mine"), cwd=tmp_path)
    try:
        assert "my own hook" in gateway.log()
        with gateway.connect() as client:
            assert "challenge" in receive(client)
    finally:
        gateway.stop()


def test_environment_of_rango_is_enough(tmp_path: Path, broker: RabbitMQ, publisher: Publisher) -> None:
    """Rango reads no other variables. Its tools write an Ed25519 key as raw bytes inside PEM."""
    signer, port = Signer("EdDSA"), free_port()
    environ = {
        "WEBSOCKET_HOST": "",
        "WEBSOCKET_PORT": "",
        "RANGER_HOST": "127.0.0.1",
        "RANGER_PORT": str(port),
        "RABBITMQ_HOST": "127.0.0.1",
        "RABBITMQ_PORT": str(broker.port),
        "RABBITMQ_USER": "guest",
        "RABBITMQ_PASSWORD": "guest",
        "JWT_PUBLIC_KEY": base64.b64encode(raw_pem(signer.key).encode()).decode(),
        "API_CORS_ORIGINS": "https://www.example.com",
        "RANGO_RBAC_ADMIN": "admin,superadmin",
        "LOG_LEVEL": "trace",
    }
    gateway = GatewayProcess(tmp_path, environ, ("peatio_ws", "run"), cwd=tmp_path)
    gateway.port = port
    try:
        bearer = {"Authorization": f"Bearer {signer.token('IDANN', role='admin')}"}
        with gateway.connect("private?stream=order,admin.eurusd.sys", additional_headers=bearer) as client:
            streams = ["order", "admin.eurusd.sys"]
            assert receive(client) == {"success": {"message": "subscribed", "streams": streams}}
            publisher.event("private.IDANN.order", {"id": 7})
            assert receive(client) == {"order": {"id": 7}}
            publisher.event("admin.eurusd.sys", {"state": "on"})
            assert receive(client) == {"eurusd.sys": {"state": "on"}}
    finally:
        gateway.stop()


def test_an_ipv6_address_is_served(tmp_path: Path, signer: Signer) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    gateway = GatewayProcess(tmp_path, {**signer.environ, "AMQP_URL": "memory://", "WEBSOCKET_HOST": "::1"})
    try:
        socket.create_connection(("::1", gateway.port), timeout=SECONDS).close()
    finally:
        gateway.stop()


def test_unwritable_metrics_folder_is_an_error_in_the_log_at_the_start(tmp_path: Path, signer: Signer) -> None:
    file = tmp_path / "file"
    file.touch()
    environ = {"AMQP_URL": "memory://", "PROMETHEUS_MULTIPROC_DIR": str(file)}
    gateway = GatewayProcess(tmp_path, {**signer.environ, **environ})
    try:
        (error,) = (event for event in gateway.events() if event["level"] == "error")
        assert error["reason"] == f"PROMETHEUS_MULTIPROC_DIR={file}: no file can be written there: Not a directory"
        assert "PROMETHEUS_MULTIPROC_DIR" in error["remedy"]
        assert "Traceback" not in gateway.log()
    finally:
        gateway.stop()


def test_metrics_folder_of_another_gateway_is_not_removed(tmp_path: Path) -> None:
    """A gateway that was started by USR2 inherits PROMETHEUS_MULTIPROC_DIR."""
    others = tmp_path / "peatio_ws-metrics-of-another"
    others.mkdir()
    run_failing(tmp_path, WEBSOCKET_PORT="http", PROMETHEUS_MULTIPROC_DIR=str(others))
    assert others.exists()
