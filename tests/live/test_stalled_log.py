"""A log reader that stalls: the gateway continues, and reports the lines that it dropped."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.gateway import GatewayProcess, Publisher, Signer, receive
from tests.support.raw_client import RawClient
from tests.support.servers import RabbitMQ, wait_until

LONG = "x" * 7000
"""Part of every request's path, so that a few hundred lines fill all buffers."""


class Piped(GatewayProcess):
    """A gateway whose standard error and output are one pipe. Nothing reads it until `read` is called."""

    def start(self, wait: bool = True) -> None:
        self.reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        command = [sys.executable, "-m", *self.command]
        self.log_path.touch()
        self.process = subprocess.Popen(command, cwd=self.cwd, env=self.environ, stdout=writer, stderr=writer)
        os.close(writer)
        if wait:
            self.wait_ready()

    def read(self) -> None:
        """Copy the output to the log file in the background, until it ends."""

        def copy() -> None:
            with self.log_path.open("ab", buffering=0) as file, contextlib.closing(os.fdopen(self.reader, "rb")) as log:
                while data := log.raw.read(65_536):
                    file.write(data)

        self.copying = threading.Thread(target=copy)
        self.copying.start()


@contextlib.contextmanager
def piped(folder: Path, broker: RabbitMQ, signer: Signer) -> Iterator[Piped]:
    environ = {**signer.environ, "AMQP_URL": broker.url, "LOG_ACCESS": "true"}
    gateway = Piped(folder, environ)
    try:
        yield gateway
    finally:
        gateway.stop()


def dropped(gateway: GatewayProcess) -> float:
    return gateway.metric("peatio_ws_log_lines_dropped_total")


def test_unread_log_delays_no_event(tmp_path: Path, broker: RabbitMQ, signer: Signer, publisher: Publisher) -> None:
    with piped(tmp_path, broker, signer) as gateway, gateway.member(signer.token("IDANN")) as ann:
        number = 0
        while not dropped(gateway):
            for _ in range(50):
                with RawClient(gateway.port) as client:
                    client.send(f"GET /{number}/{LONG} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                    assert client.answer().status == 426
                number += 1
            publisher.order("IDANN", number)
            assert receive(ann)["orderbook"]["id"] == number
            assert number < 5000
        for more in range(20):
            publisher.order("IDANN", number + more + 1)
        assert [receive(ann)["orderbook"]["id"] for _ in range(20)] == [number + more + 1 for more in range(20)]
        assert gateway.operators("/readyz")[0] == 200

        gateway.read()
        reports = lambda: [one for one in gateway.events() if one["event"].startswith("log lines dropped")]  # noqa: E731
        wait_until(lambda: bool(reports()), "the dropped lines are reported")
        with RawClient(gateway.port) as client:
            client.send(b"GET /after HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.answer().status == 426
        requests = lambda: [one["path"][1:] for one in gateway.events() if one["event"] == "request"]  # noqa: E731
        wait_until(lambda: requests()[-1:] == ["after"], "lines are written again")
        (line,) = reports()
        wait_until(lambda: dropped(gateway) == line["dropped"], "counted")
        numbers = [int(one.partition("/")[0]) for one in requests() if one.endswith(LONG)]
        assert numbers == list(range(len(numbers))), "lines are out of order, or missing before the first dropped one"
        assert len(numbers) + line["dropped"] >= number
    gateway.copying.join()
    events: list[dict[str, Any]] = gateway.events()
    assert len(gateway.log().splitlines()) == len(events), "the log contains a part of a line"
    assert [one["event"] for one in events if one.get("logger") == "gunicorn.error"][-1].startswith("Shutting down")


def test_gateway_ends_even_if_its_log_is_not_read(tmp_path: Path, broker: RabbitMQ, signer: Signer) -> None:
    with piped(tmp_path, broker, signer) as gateway:
        while not dropped(gateway):
            for number in range(50):
                with RawClient(gateway.port) as client:
                    client.send(f"GET /{number}/{LONG} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                    assert client.answer().status == 426
        process = gateway.process
        assert process is not None
        process.terminate()
        assert process.wait(30) == 0
        os.close(gateway.reader)
