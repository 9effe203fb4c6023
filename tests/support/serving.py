"""Helpers for tests of the transport: applications under gunicorn, and connected raw clients."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.gateway import ROOT, GatewayProcess
from tests.support.raw_client import WAIT, RawClient, text
from tests.support.servers import START_SECONDS, free_port, wait_until

OURS = "peatio_ws.worker.Worker"
STOCK = "geventwebsocket.gunicorn.workers.GeventWebSocketWorker"
AUTHENTICATED = {"success": {"message": "Authenticated."}}
NOT_UNDERSTOOD = {"error": {"message": "Error while handling message."}}
NO_BEARER = {"error": {"message": "Token type is not provided or invalid."}}

Start = Callable[..., GatewayProcess]


def authenticated(client: RawClient, token: str, path: str = "/") -> RawClient:
    """Upgrade and authenticate a classic client."""
    client.upgrade(path)
    assert "challenge" in client.json()
    client.send(text({"jwt": f"Bearer {token}"}))
    assert client.json() == AUTHENTICATED
    return client


@contextlib.contextmanager
def gateway_client(gateway: GatewayProcess, **options: int) -> Iterator[RawClient]:
    """Return a client of the gateway that has read its challenge."""
    with RawClient(gateway.port, **options) as client:
        client.upgrade()
        assert "challenge" in client.json()
        yield client


def listens(port: int) -> bool:
    try:
        RawClient(port).drop()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def served(folder: Path, app: str, worker: str = OURS, **environ: str) -> Iterator[GatewayProcess]:
    """Run an application that is not a gateway under gunicorn, without the gateway's configuration file.

    Applications of the tests start as forks; all others, such as the examples, start as a user starts them.
    """
    port = free_port()
    options = ("--worker-class", worker, "--bind", f"127.0.0.1:{port}", "--no-control-socket", "-c", os.devnull)
    cwd = ROOT if app.startswith("tests.") else folder
    process = GatewayProcess(folder, environ, command=("gunicorn", *options, app), cwd=cwd, wait=False)
    process.port = port
    try:
        wait_until(lambda: listens(port), f"{app} listens", START_SECONDS, 0.05)
        yield process
    finally:
        process.stop()


@contextlib.contextmanager
def without_end(client: RawClient, data: bytes) -> Iterator[None]:
    """Send this data repeatedly, as fast as possible, and read the answers. Aborts the connection at the end: the
    server would otherwise answer all that is in the sockets.
    """
    under_way, over = threading.Event(), threading.Event()

    def send() -> None:
        with contextlib.suppress(OSError):
            number = 0
            while not over.is_set():
                client.send(data)
                number += 1
                if number == 10:
                    under_way.set()

    threads = [threading.Thread(target=send), threading.Thread(target=client.read_on)]
    for thread in threads:
        thread.start()
    try:
        assert under_way.wait(WAIT)
        yield
    finally:
        over.set()
        client.abort()
        for thread in threads:
            thread.join(WAIT)
