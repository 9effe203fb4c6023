"""The servers to compare: how each is started, and its CPU time and memory."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench import processes
from bench.publisher import Publisher
from bench.tokens import Keys
from tests.support.certificate import Certificate
from tests.support.proxies import nginx_command
from tests.support.servers import free_port, wait_until

ROOT = Path(__file__).resolve().parent.parent
SERVERS = Path(__file__).resolve().parent / "servers"
PYTHON = sys.executable
GUNICORN = (PYTHON, "-m", "gunicorn")
RANGO = os.environ.get("RANGO_BIN")
"""Path of a Rango that verifies RS256 (a version before June 2023); None to leave Rango out."""


@dataclass(frozen=True)
class Setup:
    """What the servers need to run.

    Attributes:
        broker: its URL.
        folder: for logs and other files.
        floor: the compiled floor.c.
        frame: a file with the frame that the floor sends.
        certificate: ECDSA P-256.
    """

    broker: str
    broker_pid: int
    keys: Keys
    folder: Path
    floor: Path
    frame: Path
    certificate: Certificate


@dataclass(frozen=True)
class Contestant:
    """A server to compare.

    Attributes:
        label: its name in the table.
        checkout: a checkout of this gateway; None for other servers.
        environ: environment variables for this gateway.
        guest: runs only if `--servers` names it.
        program: the name of the program, if it differs from `name`.
        behind_nginx: nginx terminates TLS; its CPU and memory count. Runs only in figures over TLS.
        private_path: the path on which a client receives its private events.
    """

    name: str
    label: str
    checkout: Path | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    guest: bool = False
    program: str = ""
    behind_nginx: bool = False
    private_path: str = "/"

    def start(self, setup: Setup, tls: bool) -> Server:
        """Start it, and wait until it is connected to the broker and accepts connections."""
        server = self._start(setup, setup.certificate if tls and not self.behind_nginx else None)
        return Nginx(setup, server) if self.behind_nginx else server

    def _start(self, setup: Setup, certificate: Certificate | None) -> Server:
        if self.checkout:
            return Gateway(setup, certificate, self.checkout, self.environ)
        if self.name == "kernel":
            return Floor(setup, certificate)
        return Rango(setup) if self.name == "rango" else Alternative(setup, certificate, self.program or self.name)


def _behind_nginx(name: str, label: str, **more: Any) -> Contestant:
    return Contestant(f"{name}-nginx", f"nginx, {label}", program=name, behind_nginx=True, **more)


CONTESTANTS = (
    Contestant("ours", "this gateway", ROOT),
    Contestant("node", "Node ws + amqplib"),
    Contestant("asyncio", "websockets + aio-pika + uvloop"),
    Contestant("stock", "gevent-websocket, queue and greenlet"),
    Contestant("kernel", "send() or SSL_write() in C"),
    _behind_nginx("ours", "this gateway", checkout=ROOT, environ={"TRUSTED_PROXIES": "127.0.0.1"}),
    _behind_nginx("node", "Node ws + amqplib"),
    _behind_nginx("asyncio", "websockets + aio-pika + uvloop"),
    *([Contestant("rango", "nginx, Rango", behind_nginx=True, private_path="/private?stream=order")] if RANGO else []),
    Contestant("node-stream", "Node, private events by a stream", guest=True),
    Contestant("off", "this gateway, without history", ROOT, {"AMQP_HISTORY": "off"}, guest=True),
)


class Server:
    """A running server, with its children."""

    def __init__(
        self,
        setup: Setup,
        command: Sequence[str | Path],
        environ: dict[str, str],
        cwd: Path,
        port: int | None = None,
    ) -> None:
        self.port = port or free_port()
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LC_ALL") if name in os.environ}
        log = setup.folder / f"{type(self).__name__}.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [str(part).replace("PORT", str(self.port)) for part in command],
                env=kept | environ | {"PORT": str(self.port), "AMQP_URL": setup.broker},
                cwd=cwd,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if isinstance(self, Floor) else output,
                stderr=output,
                start_new_session=True,
            )
        try:
            wait_until(self._is_ready, f"{type(self).__name__} is ready; see {log}", 30)
        except BaseException as error:
            processes.end(self._process)
            if isinstance(error, TimeoutError):
                raise SystemExit(f"{type(self).__name__} did not start; its log:\n{log.read_text()}") from None
            raise
        self._pids = processes.tree(self._process.pid)

    def _is_ready(self) -> bool:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        processes.end(self._process)

    def cpu_seconds(self) -> float:
        """Return the CPU time so far of all its processes."""
        return processes.cpu_seconds(self._pids)

    def memory_bytes(self) -> int:
        """Return the current memory of all its processes."""
        return processes.memory_bytes(self._pids)

    def feed(self, publisher: Publisher, keys: Sequence[str], events: int, rate: float) -> None:
        """Publish events for it to deliver. See `Publisher.publish`."""
        publisher.publish(keys, events, rate)


class Gateway(Server):
    """This gateway, or another checkout of it."""

    def __init__(self, setup: Setup, certificate: Certificate | None, checkout: Path, more: Mapping[str, str]) -> None:
        self._metrics = free_port()
        environ = {
            "JWT_PUBLIC_KEY": base64.b64encode(setup.keys.public_key.read_bytes()).decode(),
            "JWT_ALGORITHM": "RS256",
            "JWT_AUDIENCE": "peatio",
            "JWT_ISSUER": "barong",
            "WEB_CONCURRENCY": "1",
            "WEBSOCKET_MAX_CONNECTIONS": "100000",
            "WEBSOCKET_MAX_CONNECTIONS_PER_MEMBER": "0",
            "METRICS_PORT": str(self._metrics),
            "LOG_LEVEL": "warning",
            "TMPDIR": str(setup.folder),
            **more,
        }
        if certificate:
            environ |= {"WEBSOCKET_SSL_CERT": str(certificate.cert), "WEBSOCKET_SSL_KEY": str(certificate.key)}
        # gunicorn also reads gunicorn.conf.py of the checkout; the command line takes precedence.
        super().__init__(setup, [*GUNICORN, "--bind", "127.0.0.1:PORT", "wsgi"], environ, checkout)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


class Alternative(Server):
    """A server of servers/. It creates READY_FILE when it is connected to the broker and listens."""

    def __init__(self, setup: Setup, certificate: Certificate | None, name: str) -> None:
        self._ready_file = setup.folder / "ready"
        self._ready_file.unlink(missing_ok=True)
        worker = "geventwebsocket.gunicorn.workers.GeventWebSocketWorker"
        bind = ("--bind", "127.0.0.1:PORT", "--no-control-socket")
        tls = ["--certfile", certificate.cert, "--keyfile", certificate.key] if certificate else []
        command: dict[str, Sequence[str | Path]] = {
            "node": ("node", SERVERS / "node_ws.mjs"),
            "node-stream": ("node", SERVERS / "node_ws.mjs"),
            "asyncio": (PYTHON, SERVERS / "asyncio_websockets.py"),
            "stock": (*GUNICORN, "-k", worker, *bind, *tls, "--worker-connections", "100000", "stock_gevent"),
        }
        environ = {"JWT_PUBLIC_KEY_FILE": str(setup.keys.public_key), "READY_FILE": str(self._ready_file)}
        if name == "node-stream":
            environ["HISTORY"] = "1"
        if certificate:
            environ |= {"TLS_CERT": str(certificate.cert), "TLS_KEY": str(certificate.key)}
        super().__init__(setup, command[name], environ, SERVERS)

    def _is_ready(self) -> bool:
        return self._ready_file.exists()


class Rango(Server):
    """The program at RANGO_BIN. It listens only once it is connected to the broker."""

    def __init__(self, setup: Setup) -> None:
        assert RANGO is not None
        options = ["-ws-addr", "127.0.0.1:PORT", "-amqp-addr", setup.broker, "-pubKey", setup.keys.public_key]
        super().__init__(setup, [RANGO, *options], {"LOG_LEVEL": "warn"}, setup.folder)

    def _is_ready(self) -> bool:
        return _is_bound(self.port)


class Nginx(Server):
    """nginx with `deploy/nginx.conf` and one worker, in front of a server. The CPU time and memory of both count."""

    def __init__(self, setup: Setup, server: Server) -> None:
        self._server = server
        folder, port = setup.folder / "nginx", free_port()
        folder.mkdir(exist_ok=True)
        upstream, second = f"server 127.0.0.1:{server.port} ", "server gateway-2:8080 max_fails=1 fail_timeout=3s;"
        changes = [
            ("server gateway-1:8080 ", upstream),
            (second, ""),
            ("worker_processes auto;", "worker_processes 1;"),
            # All clients share a few addresses, so limits per address would refuse most of them.
            ("limit_conn open 200;", ""),
            ("limit_req zone=opening burst=200 nodelay;", ""),
        ]
        try:
            command = nginx_command(folder, port, setup.certificate, changes)
            super().__init__(setup, command, {}, folder, port)
        except BaseException:
            server.__exit__(None, None, None)
            raise
        self._pids = [*self._pids, *server._pids]

    def _is_ready(self) -> bool:
        return _is_bound(self.port) and len(processes.tree(self._process.pid)) > 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._server.__exit__(kind, error, trace)


class Floor(Server):
    """native/floor.c: only send() or SSL_write(), without a broker, tokens and encoding of frames."""

    def __init__(self, setup: Setup, certificate: Certificate | None) -> None:
        tls = [certificate.cert, certificate.key] if certificate else []
        super().__init__(setup, [setup.floor, "PORT", setup.frame, *tls], {}, setup.folder)

    def _is_ready(self) -> bool:
        return _is_bound(self.port)

    def feed(self, publisher: Publisher, keys: Sequence[str], events: int, rate: float) -> None:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"send {events} {rate}\n".encode())
        stdin.flush()
        stdout.readline()


def _is_bound(port: int) -> bool:
    """Return whether a server listens on the port, without connecting to it."""
    return any(f":{port:04X} 00000000:0000 0A" in line for line in Path("/proc/net/tcp").open())
