"""The container image without containers: the instructions of deploy/Dockerfile, carried out in a folder."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import documents
from tests.support.dockerfile import Image
from tests.support.gateway import ROOT, WAIT, GatewayProcess, Signer
from tests.support.raw_client import RawClient
from tests.support.servers import RabbitMQ
from tests.support.serving import authenticated

DOCKERFILE = ROOT / "deploy" / "Dockerfile"
GIVEN = ("AMQP_", "JWT_", "WEBSOCKET_", "METRICS_PORT")
"""Variables that the operator sets; the image sets the others."""
APPLICATION = """
from flask import Flask
from peatio_ws import Gateway

app = Flask(__name__)
application = Gateway.from_env(app=app)

@app.get("/hello")
def hello():
    return "hello"
"""


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    place = Path(tempfile.mkdtemp(prefix="peatio_ws-image-"))
    place.chmod(0o755)  # the image's user has to reach it
    made = Image(place)
    made.build(DOCKERFILE.read_text(), ROOT)
    yield made
    shutil.rmtree(place)


class Container(GatewayProcess):
    """A gateway that an image's command starts, with these variables."""

    def __init__(self, image: Image, folder: Path, environ: dict[str, str]) -> None:
        self._image = image
        super().__init__(folder, environ)

    def start(self, wait: bool = True) -> None:
        given = {name: value for name, value in self.environ.items() if name.startswith(GIVEN)}
        with self.log_path.open("ab") as log:
            self.process = self._image.start(self._image.command, given, stdout=log, stderr=log)
        if wait:
            self.wait_ready()

    def is_healthy(self) -> bool:
        check = self._image.start(self._image.check, {"METRICS_PORT": str(self.metrics_port)}, stderr=subprocess.PIPE)
        check.communicate(timeout=WAIT)
        return check.returncode == 0


@pytest.fixture
def environ(broker: RabbitMQ, signer: Signer) -> dict[str, str]:
    return {**signer.environ, "AMQP_URL": broker.url}


def test_its_command_serves_as_a_normal_user(
    image: Image, tmp_path: Path, environ: dict[str, str], signer: Signer
) -> None:
    gateway = Container(image, tmp_path, environ)
    try:
        assert gateway.is_healthy()
        users = [Path(f"/proc/{pid}/status").read_text() for pid in (gateway.pid, *gateway.workers())]
        assert all("\nUid:\t10001\t10001\t" in status for status in users)
        with RawClient(gateway.port) as client:
            authenticated(client, signer.token("IDANN"))
            gateway.process.terminate()  # type: ignore[union-attr]
            assert client.closed()[0] == 1012
    finally:
        gateway.stop()
    assert not gateway.is_healthy()
    assert not gateway.tracebacks()


def test_the_image_of_an_application_serves_both(image: Image, tmp_path: Path, environ: dict[str, str]) -> None:
    (block,) = [block for block in documents.blocks(ROOT / "docs" / "operations.md") if block.language == "dockerfile"]
    (tmp_path / "exchange.py").write_text(APPLICATION)
    image.build(block.text, tmp_path)
    assert image.user == (10001, 10001)
    gateway = Container(image, tmp_path, environ)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{gateway.port}/hello", timeout=WAIT) as answer:
            assert answer.read() == b"hello"
        with gateway.connect() as client:
            assert "challenge" in str(client.recv(timeout=WAIT))
    finally:
        gateway.stop()
