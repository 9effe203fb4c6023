"""A gateway whose code changes while it runs (`gunicorn --reload`, `USR2`) or whose master is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from peatio_ws.cli.run import CONFIG
from tests.live.test_published_keys import Issued, members
from tests.support.certificate import Certificate
from tests.support.gateway import GatewayProcess, Publisher, Signer, receive, resume
from tests.support.servers import START_SECONDS, RabbitMQ, wait_until

SECONDS = 30.0
"""Time limit for immediate effects. Less than gunicorn's `graceful_timeout` here, for which a worker must not wait."""
PATIENT = {"AMQP_URL": "memory://", "WEBSOCKET_DRAIN_SECONDS": "60"}
APP = "from peatio_ws import Gateway\napp = Gateway.from_env()\n"


def http_status(gateway: GatewayProcess) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{gateway.port}/", timeout=SECONDS) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_saved_file_restarts_an_idle_worker_at_once(tmp_path: Path, signer: Signer) -> None:
    code = tmp_path / "mine.py"
    code.write_text(APP)
    command = ("gunicorn", "--config", str(CONFIG), "--reload", "mine:app")
    gateway = GatewayProcess(tmp_path, {**signer.environ, **PATIENT}, command, cwd=tmp_path)
    try:
        for number in range(2):
            before = gateway.workers()
            code.write_text(f"{APP}# {number}\n")
            wait_until(lambda: "Worker reloading" in gateway.log(), "the change is noticed", SECONDS)
            wait_until(lambda: not set(before) & set(gateway.workers()), "a new worker has started", SECONDS)  # noqa: B023
            assert http_status(gateway) == 426
            gateway.wait_ready()
    finally:
        gateway.stop()


def test_clients_of_a_killed_master_are_notified(tmp_path: Path, signer: Signer) -> None:
    gateway = GatewayProcess(tmp_path, {**signer.environ, **PATIENT})
    (worker,) = gateway.workers()
    with gateway.connect() as client:
        assert "challenge" in receive(client)
        gateway.kill()
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=SECONDS)
        assert closed.value.rcvd is not None, "the client received no close frame"
        assert closed.value.rcvd.code == 1012
    try:
        wait_until(lambda: not os.path.exists(f"/proc/{worker}"), "the worker exits", SECONDS)
    except TimeoutError:
        os.kill(worker, signal.SIGKILL)
        raise


class Files:
    """The files of a gateway, with the good content of each and a bad one."""

    def __init__(self, folder: Path, port: int) -> None:
        self.issued = certificate = Certificate(folder)
        self.key, self.certificate = certificate.key, certificate.cert
        self.code, self.keys, self.config = folder / "mine.py", folder / "keys.json", folder / "conf.py"
        self.good = {
            self.code: APP,
            self.keys: members(Issued("a")).decode(),
            self.config: f"exec(compile(open({str(CONFIG)!r}).read(), 'gunicorn.conf.py', 'exec'))\n",
            self.key: certificate.key.read_text(),
            self.certificate: certificate.cert.read_text(),
        }
        self.bad = {
            self.keys: ('{"keys":[{"kty"', "JWT_JWKS_FILE is not JSON"),
            self.certificate: (
                self.good[self.certificate][:300],
                "WEBSOCKET_SSL_KEY and WEBSOCKET_SSL_CERT are",
            ),
            self.config: ("workers = (\n", "SyntaxError: '(' was never closed"),
            self.code: ("from nowhere import nothing\n", "ModuleNotFoundError: No module named 'nowhere'"),
        }
        self.port_in_use = (
            self.good[self.config] + f"bind = '127.0.0.1:{port}'\n",
            f"bind=127.0.0.1:{port}: cannot listen",
        )
        self.write()

    def write(self) -> None:
        for path, text in self.good.items():
            path.write_text(text)

    @property
    def environ(self) -> dict[str, str]:
        return {
            **PATIENT,
            "JWT_JWKS_FILE": str(self.keys),
            "WEBSOCKET_SSL_KEY": str(self.key),
            "WEBSOCKET_SSL_CERT": str(self.certificate),
        }


@contextlib.contextmanager
def started(folder: Path, files: Files) -> Iterator[GatewayProcess]:
    gateway = GatewayProcess(folder, files.environ, ("gunicorn", "--config", "conf.py", "mine:app"), cwd=folder)
    try:
        yield gateway
    finally:
        gateway.stop()


def faults(gateway: GatewayProcess, event: str) -> list[str]:
    return [line["fault"] for line in gateway.events() if line["event"].startswith(event)]


def test_reload_with_faulty_files_changes_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        files = Files(tmp_path, listener.getsockname()[1])
        with started(tmp_path, files) as gateway:
            workers, tls = gateway.workers(), files.issued.trusted_by_threads()
            with connect(f"wss://127.0.0.1:{gateway.port}/", ssl=tls, server_hostname="localhost") as client:
                for number, (path, (text, expected)) in enumerate(
                    [*files.bad.items(), (files.config, files.port_in_use)], 1
                ):
                    path.write_text(text)
                    os.kill(gateway.pid, signal.SIGHUP)
                    wait_until(lambda: len(faults(gateway, "reload refused")) >= number, expected, SECONDS)  # noqa: B023
                    files.write()
                    assert faults(gateway, "reload refused")[-1].startswith(expected)
                assert len(faults(gateway, "reload refused")) == number, "a refused reload was logged more than once"
                assert gateway.workers() == workers
                assert client.ping().wait(SECONDS), "the client was disconnected"
                os.kill(gateway.pid, signal.SIGHUP)
                assert "challenge" in receive(client)
                with pytest.raises(ConnectionClosed) as closed:
                    client.recv(timeout=SECONDS)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1012, "a reload with good files did not work"
            assert "Traceback" not in gateway.log()
            wait_until(lambda: not set(workers) & set(gateway.workers()), "new workers have started", SECONDS)
            assert gateway.process is not None
            assert gateway.process.poll() is None


def test_worker_waits_until_faulty_files_are_repaired(tmp_path: Path) -> None:
    files = Files(tmp_path, 0)
    with started(tmp_path, files) as gateway:
        (worker,) = gateway.workers()
        text, expected = files.bad[files.certificate]
        files.certificate.write_text(text)
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: expected in gateway.operators("/readyz")[1], "reported by /readyz", SECONDS)
        assert gateway.operators("/readyz")[0] == 503
        assert gateway.operators("/healthz")[0] == 200
        files.write()
        gateway.wait_ready()
        with connect(
            f"wss://127.0.0.1:{gateway.port}/", ssl=files.issued.trusted_by_threads(), server_hostname="localhost"
        ) as client:
            assert "challenge" in receive(client)
        (fault,) = faults(gateway, "worker cannot start yet")
        assert fault.startswith(expected)
        files.certificate.write_text(text)
        (worker,) = gateway.workers()
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: expected in gateway.operators("/readyz")[1], "reported again", SECONDS)
        assert gateway.process is not None
        gateway.process.terminate()
        assert gateway.process.wait(SECONDS) == 0, "a waiting worker did not exit on request"


def ended(pid: int) -> bool:
    """Return whether a process has ended. It is a zombie if the tests' ancestors do not wait for it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] == "Z"
    except FileNotFoundError:
        return True


@pytest.fixture
def successor() -> Iterator[list[int]]:
    """The pid of a master that USR2 has started, if the test appends it. The process ends after the test."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: ended(pid), "the new master exits", SECONDS)  # noqa: B023


def test_usr2_exchanges_a_gateway(
    tmp_path: Path, broker: RabbitMQ, signer: Signer, publisher: Publisher, successor: list[int]
) -> None:
    """Clients are never refused, and a client that resumes receives each event once."""
    environ = {**signer.environ, "AMQP_URL": broker.url, "WEBSOCKET_DRAIN_SECONDS": "0.2"}
    gateway = GatewayProcess(tmp_path, environ, ("peatio_ws", "run", "--no-simulation"))
    token = signer.token("IDUSR")
    received = list[int]()

    def order(client: ClientConnection) -> None:
        received.append(receive(client)["orderbook"]["id"])

    try:
        with gateway.connect() as client:
            resume(client, token)
            workers = gateway.workers()
            os.kill(gateway.pid, signal.SIGUSR2)
            wait_until(lambda: len(gateway.workers()) > len(workers), "another master has started", SECONDS)
            successor += set(gateway.workers()) - set(workers)
            (new,) = successor
            wait_until(
                lambda: {"private", "public"} <= {
                    line["events"]
                    for line in gateway.events()
                    if line["event"] == "receiving from the broker" and line["pid"] not in workers
                },
                "its worker receives from the broker",
                START_SECONDS,
            )  # fmt: skip
            publisher.order("IDUSR", 1)
            order(client)
            assert gateway.process is not None
            gateway.process.terminate()
            with contextlib.suppress(ConnectionClosed):
                while True:
                    cursor = receive(client, SECONDS)["resume"]["cursor"]
            assert client.close_code == 1012
        publisher.order("IDUSR", 2)
        with gateway.connect() as client:  # at once: the old master may not have exited yet
            assert resume(client, token, cursor)["complete"] is True
            order(client)
            publisher.order("IDUSR", 3)
            order(client)
        assert received == [1, 2, 3]
        assert gateway.process.wait(SECONDS) == 0
        assert not ended(new)
        with gateway.connect() as client:
            assert "challenge" in receive(client)
        assert gateway.operators("/readyz")[0] == 200
        assert not gateway.tracebacks()
    finally:
        gateway.stop()
