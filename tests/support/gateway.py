"""A real gateway in separate processes, tokens that it accepts, a publisher like Peatio, and clients."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import amqp
import jwt
from kombu import Connection
from websockets.sync.client import ClientConnection, connect

from peatio_ws.auth import keys
from tests.support import fork_server
from tests.support.servers import START_SECONDS, WAIT_SECONDS, Server, free_port, wait_until

ROOT = Path(__file__).parent.parent.parent
WAIT = WAIT_SECONDS
"""Seconds within which an expected frame has to arrive."""
GATEWAY_VARIABLES = (
    "WEBSOCKET_",
    "RANGER_",
    "RANGO_",
    "JWT_",
    "AMQP_",
    "RABBITMQ_",
    "REDIS_",
    "METRICS_",
    "LOG_",
    "WEB_CONCURRENCY",
    "TRUSTED_PROXIES",
    "API_CORS_ORIGINS",
    "ORDERBOOK_BROADCAST",
    "ADMIN_TOKEN",
)
"""How the names of the gateway's variables begin."""


class Signer:
    """Makes tokens as Barong does."""

    def __init__(self, algorithm: str = "RS256") -> None:
        self.algorithm = algorithm
        self.key = keys.new_private_key(algorithm)

    @property
    def environ(self) -> dict[str, str]:
        """Return the variables that the gateway needs."""
        return {
            "JWT_PUBLIC_KEY": keys.public_text(self.key),
            "JWT_ALGORITHM": self.algorithm,
            "JWT_AUDIENCE": "peatio",
            "JWT_ISSUER": "barong",
        }

    def token(self, uid: str, **claims: Any) -> str:
        now = int(time.time())
        payload = {
            "iat": now,
            "exp": now + 3600,
            "jti": str(uuid.uuid4()),
            "sub": "session",
            "iss": "barong",
            "aud": ["peatio"],
            "uid": uid,
            "role": "member",
            "state": "active",
            **claims,
        }
        return jwt.encode(payload, self.key, algorithm=self.algorithm)


class GatewayProcess(Server):
    """`gunicorn wsgi` with the given environment, on free ports.

    Args:
        folder: for its log.
        environ: added to this process's environment without the gateway's own variables.
        command: what to run instead of `gunicorn wsgi`, after `python -m`.

    Attributes:
        forks: whether gateways start as forks of a process that has loaded their modules, as in tests. Only those that
            differ by nothing but the gateway's variables and TMPDIR do; all others start as a user's.
    """

    forks: ClassVar = False

    def __init__(
        self,
        folder: Path,
        environ: Mapping[str, str],
        command: tuple[str, ...] = ("gunicorn", "wsgi"),
        cwd: Path = ROOT,
        wait: bool = True,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port, self.metrics_port = free_port(), free_port()
        self.log_path = folder / f"gateway-{self.port}.log"
        self.command, self.cwd = command, cwd
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(GATEWAY_VARIABLES)},
            "PYTHONPATH": str(ROOT),
            "WEBSOCKET_HOST": "127.0.0.1",
            "WEBSOCKET_PORT": str(self.port),
            "METRICS_PORT": str(self.metrics_port),
            "LOG_FORMAT": "json",
            **environ,
        }
        self.start(wait)

    @property
    def url(self) -> str:
        return f"ws{'s' if 'WEBSOCKET_SSL_CERT' in self.environ else ''}://127.0.0.1:{self.port}/"

    def start(self, wait: bool = True) -> None:
        with self.log_path.open("ab") as log:
            if self.forks and self._is_plain():
                self.process = fork_server.shared("gateway").start(self.command, self.environ, log, log)
            else:
                words = [sys.executable, "-m", *self.command]
                self.process = subprocess.Popen(words, cwd=self.cwd, env=self.environ, stdout=log, stderr=log)
        if wait:
            try:
                self.wait_ready()
            except BaseException:  # after Ctrl-C, too: no other code knows the process yet
                self.kill()
                raise

    def _is_plain(self) -> bool:
        names = (*GATEWAY_VARIABLES, "TMPDIR")
        others = {name: value for name, value in self.environ.items() if not name.startswith(names)}
        plain = os.environ | {"PYTHONPATH": str(ROOT)}
        return self.command[0] == "gunicorn" and self.cwd == ROOT and others.items() <= plain.items()

    def wait_ready(self) -> None:
        def ready() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, f"the gateway ended:\n{self.log()}"
            if self.operators("/readyz")[0] != 200:
                return False
            # One worker has answered. The others would miss events published before they receive from the broker.
            workers = float(self.environ.get("WEB_CONCURRENCY") or 1)
            return workers == 1 or self.metric("peatio_ws_broker_connected") == workers

        try:
            wait_until(ready, "gateway ready", START_SECONDS, 0.05)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; {self.operators('/readyz')}; its log:\n{self.log()}") from None

    def operators(self, path: str) -> tuple[int, str]:
        """Return status and body of a request to the operator's port; (0, "") without an answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str) -> float:
        """Return the value of a metric, whose name includes its labels; 0 if it does not exist."""
        for line in self.operators("/metrics")[1].splitlines():
            if line.startswith(name + " "):
                return float(line.rpartition(" ")[2])
        return 0.0

    def total(self, name: str, *labels: str) -> float:
        """Return the sum of a metric over all labels except these, which are written as `name="value"`."""
        return sum(
            float(line.rpartition(" ")[2])
            for line in self.operators("/metrics")[1].splitlines()
            if line.partition("{")[0].partition(" ")[0] == name and all(label in line for label in labels)
        )

    def log(self) -> str:
        return self.log_path.read_text()

    def events(self) -> list[dict[str, Any]]:
        """Return the lines of the log written so far."""
        return [json.loads(line) for line in self.log().splitlines(True) if line[0] == "{" and line[-1] == "\n"]

    def tracebacks(self) -> list[str]:
        """Return the tracebacks in the log, each with what follows it."""
        return [f"Traceback{text[:3000]}" for text in self.log().split("Traceback")[1:]]

    def workers(self) -> list[int]:
        """Return the pids of gunicorn's workers."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    @contextlib.contextmanager
    def connect(self, path: str = "", **options: Any) -> Iterator[ClientConnection]:
        with connect(self.url + path, open_timeout=WAIT, close_timeout=WAIT, **options) as client:
            yield client

    @contextlib.contextmanager
    def member(self, token: str) -> Iterator[ClientConnection]:
        """Return an authenticated classic client."""
        with self.connect() as client:
            assert "challenge" in receive(client)
            authenticate(client, token)
            yield client


def receive(client: ClientConnection, seconds: float = WAIT) -> Any:
    """Return the next frame, as JSON."""
    return json.loads(client.recv(timeout=seconds))


def authenticate(client: ClientConnection, token: str) -> None:
    client.send(json.dumps({"jwt": f"Bearer {token}"}))
    answer = receive(client)
    assert answer == {"success": {"message": "Authenticated."}}, answer


def resume(client: ClientConnection, token: str, cursor: str | bool = True) -> Any:
    """Authenticate a classic connection that resumes. Return the answer's `resume`."""
    assert "challenge" in receive(client)
    client.send(json.dumps({"jwt": f"Bearer {token}", "resume": cursor}))
    answer = receive(client)
    assert answer["success"] == {"message": "Authenticated."}
    return answer["resume"]


def forget_history(url: str) -> None:
    """Delete the history at a broker, which each gateway reads when it starts."""
    with Connection(url) as connection:
        connection.default_channel.queue_delete("peatio_ws.history")


class Publisher:
    """Publishes as Peatio does, with octet-stream bodies, but waits for the confirm of each message.

    Exchanges are not durable by default.

    Attributes:
        confirm_seconds: how long a confirm may take before `publish` raises TimeoutError; None for no limit.
    """

    def __init__(
        self, url: str, durable: bool = False, confirm: bool = True, confirm_seconds: float | None = None
    ) -> None:
        self._connection = Connection(url, transport_options={"confirm_publish": confirm})
        self._channel = self._connection.channel()
        self._durable, self._declared, self.confirm_seconds = durable, set[str](), confirm_seconds

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.release()

    def publish(self, exchange: str, kind: str, body: Any, routing_key: str = "", headers: Any = None) -> None:
        if exchange not in self._declared:
            self._channel.exchange_declare(exchange, kind, durable=self._durable, auto_delete=False)
            self._declared.add(exchange)
        message = amqp.Message(
            body if isinstance(body, bytes) else json.dumps(body).encode(),
            content_type="application/octet-stream",
            application_headers=headers or {},
            delivery_mode=2 if self._durable else 1,
        )
        self._channel.basic_publish(message, exchange, routing_key, confirm_timeout=self.confirm_seconds)

    def settle(self) -> None:
        """Wait until the broker has routed all that was published: it carries out a channel's commands in order."""
        self._channel.exchange_declare("amq.direct", "direct", passive=True)

    def order(self, uid: str, number: int, **fields: Any) -> None:
        body = {"id": number, "side": "sell", "price": "9120.5", "state": "wait", "market_id": "btcusd", **fields}
        self.publish("peatio.orderbook", "fanout", body, headers={"uid": uid})

    def trade(self, body: Mapping[str, Any], **headers: Any) -> None:
        self.publish("peatio.trade", "headers", dict(body), headers=headers)

    def event(self, routing_key: str, body: Any) -> None:
        self.publish("peatio.events.ranger", "topic", body, routing_key=routing_key)
