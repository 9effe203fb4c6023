"""Who takes part, and how each is started; a started one tells its CPU time and memory."""

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
from typing import Self

from bench import processes
from bench.publisher import Publisher
from bench.tokens import Keys
from tests.support.servers import free_port, wait_until

ROOT = Path(__file__).resolve().parent.parent
SERVERS = Path(__file__).resolve().parent / "servers"
PYTHON = sys.executable
GUNICORN = (PYTHON, "-m", "gunicorn")


@dataclass(frozen=True)
class Surroundings:
    """What every contestant is given: the broker, the keys, a folder to write to, and the floor's program and frame."""

    broker: str
    broker_pid: int
    keys: Keys
    folder: Path
    floor: Path
    frame: Path


@dataclass(frozen=True)
class Contestant:
    """One way to serve the traders.

    Attributes:
        label: for the table.
        checkout: of this gateway; None for the others.
        environ: variables of this gateway.
        guest: takes part only where it is named.
    """

    name: str
    label: str
    checkout: Path | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    guest: bool = False

    def start(self, around: Surroundings) -> Server:
        """Start it and wait until it hears the broker and takes connections."""
        if self.name == "kernel":
            return Floor(around)
        return Gateway(around, self.checkout, self.environ) if self.checkout else Rival(around, self.name)


CONTESTANTS = (
    Contestant("ours", "this gateway", ROOT),
    Contestant("node", "Node ws + amqplib"),
    Contestant("asyncio", "websockets + aio-pika + uvloop"),
    Contestant("stock", "gevent-websocket, queue and greenlet"),
    Contestant("kernel", "send() in C"),
    Contestant("node-stream", "Node, private events by a stream", guest=True),
    Contestant("off", "this gateway, without history", ROOT, {"AMQP_HISTORY": "off"}, guest=True),
)


class Server:
    """A running contestant."""

    def __init__(self, around: Surroundings, command: Sequence[str | Path], environ: dict[str, str], cwd: Path) -> None:
        self.port = free_port()
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LC_ALL") if name in os.environ}
        log = around.folder / "server.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [str(part).replace("PORT", str(self.port)) for part in command],
                env=kept | environ | {"PORT": str(self.port), "AMQP_URL": around.broker},
                cwd=cwd,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if isinstance(self, Floor) else output,
                stderr=output,
                start_new_session=True,
            )
        try:
            wait_until(self._is_ready, f"{type(self).__name__} ready; see {log}", 30)
        except BaseException as error:
            processes.end(self._process)
            if isinstance(error, TimeoutError):
                raise SystemExit(f"a contestant does not start:\n{log.read_text()}") from None
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
        """CPU time so far, of all its processes."""
        return processes.cpu_seconds(self._pids)

    def memory_bytes(self) -> int:
        """Memory now, of all its processes."""
        return processes.memory_bytes(self._pids)

    def feed(self, publisher: Publisher, keys: Sequence[str], events: int, rate: float) -> None:
        """Make it deliver events; see `Publisher.publish`."""
        publisher.publish(keys, events, rate)


class Gateway(Server):
    """This gateway, or another checkout of it."""

    def __init__(self, around: Surroundings, checkout: Path, more: Mapping[str, str]) -> None:
        self._metrics = free_port()
        environ = {
            "JWT_PUBLIC_KEY": base64.b64encode(around.keys.public_key.read_bytes()).decode(),
            "JWT_ALGORITHM": "RS256",
            "JWT_AUDIENCE": "peatio",
            "JWT_ISSUER": "barong",
            "WEB_CONCURRENCY": "1",
            "WEBSOCKET_MAX_CONNECTIONS": "100000",
            "WEBSOCKET_MAX_CONNECTIONS_PER_MEMBER": "0",
            "METRICS_PORT": str(self._metrics),
            "LOG_LEVEL": "warning",
            "TMPDIR": str(around.folder),
            **more,
        }
        # gunicorn.conf.py of the checkout is read; the command line wins over it.
        super().__init__(around, [*GUNICORN, "--bind", "127.0.0.1:PORT", "wsgi"], environ, checkout)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


class Rival(Server):
    """One of servers/: it writes READY_FILE when it hears the broker and listens."""

    def __init__(self, around: Surroundings, name: str) -> None:
        self._ready_file = around.folder / "ready"
        self._ready_file.unlink(missing_ok=True)
        worker = "geventwebsocket.gunicorn.workers.GeventWebSocketWorker"
        bind = ("--bind", "127.0.0.1:PORT", "--no-control-socket")
        command: dict[str, Sequence[str | Path]] = {
            "node": ("node", SERVERS / "node_ws.mjs"),
            "node-stream": ("node", SERVERS / "node_ws.mjs"),
            "asyncio": (PYTHON, SERVERS / "asyncio_websockets.py"),
            "stock": (*GUNICORN, "-k", worker, *bind, "--worker-connections", "100000", "stock_gevent"),
        }
        environ = {"JWT_PUBLIC_KEY_FILE": str(around.keys.public_key), "READY_FILE": str(self._ready_file)}
        if name == "node-stream":
            environ["HISTORY"] = "1"
        super().__init__(around, command[name], environ, SERVERS)

    def _is_ready(self) -> bool:
        return self._ready_file.exists()


class Floor(Server):
    """native/floor.c: no broker, no tokens, no frames to make; only send()."""

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around, [around.floor, "PORT", around.frame], {}, around.folder)

    def _is_ready(self) -> bool:
        return any(f":{self.port:04X} 00000000:0000 0A" in line for line in Path("/proc/net/tcp").open())

    def feed(self, publisher: Publisher, keys: Sequence[str], events: int, rate: float) -> None:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"send {events} {rate}\n".encode())
        stdin.flush()
        stdout.readline()
