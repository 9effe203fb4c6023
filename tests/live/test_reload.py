"""A gateway whose code is saved while it runs (`gunicorn --reload`), or whose master ends without a word."""

from __future__ import annotations

import os
import signal
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from peatio_ws.cli import CONFIG
from tests.gateway import GatewayProcess, Signer, receive
from tests.servers import wait_until

SECONDS = 30.0
"""For what happens at once. Less than gunicorn's `graceful_timeout` here, for which a worker must not wait."""
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
            wait_until(lambda: "Worker reloading" in gateway.log(), "the change is seen", SECONDS)
            wait_until(lambda: not set(before) & set(gateway.workers()), "another worker", SECONDS)  # noqa: B023
            assert http_status(gateway) == 426
            gateway.wait_ready()
    finally:
        gateway.stop()


def test_clients_of_a_master_that_was_killed_are_told(tmp_path: Path, signer: Signer) -> None:
    gateway = GatewayProcess(tmp_path, {**signer.environ, **PATIENT})
    (worker,) = gateway.workers()
    with gateway.connect() as client:
        assert "challenge" in receive(client)
        gateway.kill()
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=SECONDS)
        assert closed.value.rcvd is not None, "no close frame"
        assert closed.value.rcvd.code == 1012
    try:
        wait_until(lambda: not os.path.exists(f"/proc/{worker}"), "the worker ends", SECONDS)
    except TimeoutError:
        os.kill(worker, signal.SIGKILL)
        raise
