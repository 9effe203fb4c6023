"""Private servers for tests and benches: RabbitMQ and Redis on free loopback ports, in a private folder.

Each also listens with TLS on a second port, with a certificate for `localhost` and 127.0.0.1.

Knows how to start, freeze, kill and restart them; knows nothing of the gateway. Every process is a child of this one
and is ended by its pid.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tests.support import broker_rpc
from tests.support.certificate import Authority
from tests.support.fork_server import Fork

START_SECONDS = 90.0
"""How long a server may take to answer; a RabbitMQ node needs 4-8 s, more while two start at once."""


WAIT_SECONDS = 60.0
"""How long anything expected may take on a busy machine. Only a failing test waits that long."""
LONGEST_PAUSE = 0.1
"""The most seconds between two checks of something expected, unless the caller sets a longer pause."""
PORTS, BLOCK = range(10_000, 32_000), 100
"""Below the kernel's ephemeral ports: a connection could otherwise take a port before its server does."""
_claims: list[socket.socket] = []
_claimed: list[int] = []


def free_port() -> int:
    """Return an unused TCP port on 127.0.0.1, each time another one.

    No two processes on this machine get the same port: ports are claimed in blocks, each by an abstract Unix socket,
    which the kernel closes when its process ends.
    """
    while True:
        if not _claimed:
            _claim_block()
        port = _claimed.pop()
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _claim_block() -> None:
    firsts = list(PORTS[::BLOCK])
    random.shuffle(firsts)
    for first in firsts:
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0peatio_ws-tests-ports-{first}")
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        _claimed.extend(random.sample(range(first, first + BLOCK), BLOCK))
        return
    raise RuntimeError("all ports are taken by other tests")


def wait_until(check: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS, pause: float = 0.02) -> None:
    """Wait until `check` is true. Raises TimeoutError naming `what` after `seconds`.

    Args:
        pause: seconds between the first two checks. Later pauses are longer: many checks ask a gateway for its metrics,
            which costs it 5 ms of CPU.
    """
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(pause)
        pause = max(pause, min(1.2 * pause, LONGEST_PAUSE))


def seldom(check: Callable[[], bool]) -> Callable[[], bool]:
    """Return a function that calls `check` every 0.1 s at most, and returns False in between.

    For conditions that ask a gateway, in loops that turn with each frame that a client receives.
    """
    due = 0.0

    def checked() -> bool:
        nonlocal due
        if time.monotonic() < due:
            return False
        found = check()
        due = time.monotonic() + LONGEST_PAUSE
        return found

    return checked


def _answers(port: int, greeting: bytes) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as probe:
            probe.settimeout(2)
            probe.sendall(greeting)
            return bool(probe.recv(1))
    except OSError:
        return False


class Server:
    """A child process that can be frozen, killed and started again on the same port and folder."""

    port: int
    process: subprocess.Popen[bytes] | Fork | None = None

    def start(self) -> None:
        raise NotImplementedError

    @property
    def pid(self) -> int:
        assert self.process is not None, "the server is not running"
        return self.process.pid

    def freeze(self) -> None:
        """Stop the process with SIGSTOP: its port stays open, but it answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process with SIGKILL, as in a crash."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End the process with SIGTERM, or with SIGKILL if that takes more than 30 s."""
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        self.stop()
        self.start()

    def _end(self, how: signal.Signals) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        os.kill(self.pid, signal.SIGCONT)
        os.kill(self.pid, how)
        process, self.process = self.process, None
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Redis(Server):
    """`redis-server` without persistence; with `persistent` it keeps its data over a restart.

    Args:
        options: more of its settings, as on its command line.

    `REDIS_SERVER` names the program of another version, which listens without TLS: Redis supports it since 6.

    Attributes:
        authority: issued its certificate; over TLS it accepts only clients with a certificate of this authority.
    """

    def __init__(self, folder: Path, persistent: bool = False, options: tuple[str, ...] = ()) -> None:
        self.folder, self.port, self.tls_port, self.persistent = folder, free_port(), free_port(), persistent
        self._options = options
        self.authority = Authority(folder / "tls")
        self._cert, self._key = self.authority.issue("server", "localhost", "127.0.0.1")
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def tls_url(self) -> str:
        return f"rediss://localhost:{self.tls_port}/0"

    def start(self) -> None:
        keep = ["--appendonly", "yes"] if self.persistent else ["--save", "", "--appendonly", "no"]
        other = os.environ.get("REDIS_SERVER")
        tls = ["--tls-port", str(self.tls_port), "--tls-ca-cert-file", str(self.authority.cert)]
        tls += ["--tls-cert-file", str(self._cert), "--tls-key-file", str(self._key)]
        where = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder)]
        command = [other or "redis-server", *where, *([] if other else tls), *keep, *self._options]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(lambda: _answers(self.port, b"PING\r\n"), f"redis on {self.port}", START_SECONDS)


class RabbitMQ(Server):
    """A RabbitMQ node with its own name, folder and epmd, so that several can run at the same time.

    Args:
        folder: for all its files.
        cluster: a running node whose cluster this one joins; they share epmd and cookie.

    Attributes:
        authority: issued its certificate, and issues certificates of clients that the broker trusts.
    """

    BIN = Path("/usr/lib/rabbitmq/bin")
    ERLANG = Path("/usr/lib/erlang")
    MODULES = Path("together", "ebin")  # the last folder by name is the first one of the path

    def __init__(self, folder: Path, cluster: RabbitMQ | None = None) -> None:
        self.folder, self.port, self.dist_port, self.tls_port = folder, free_port(), free_port(), free_port()
        epmd_port = cluster.environment["ERL_EPMD_PORT"] if cluster else str(free_port())
        self.authority = Authority(folder / "tls")
        self._cert, self._key = self.authority.issue("server", "localhost", "127.0.0.1")
        (folder / "rabbitmq.conf").write_text(self._settings())
        (folder / "enabled_plugins").write_text("[].\n")
        (folder / "env.conf").write_text("")
        self.environment = os.environ | {
            "HOME": str(folder),
            "ERL_EPMD_PORT": epmd_port,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "env.conf"),
            "RABBITMQ_PLUGINS_DIR": str(self._plugins(folder / "plugins")),
            "RABBITMQ_SERVER_CODE_PATH": str(folder / "plugins" / self.MODULES),
            # One scheduler: the node shares two cores with the tests.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"
            ),
        }
        self.epmd: subprocess.Popen[bytes] | None = None
        if cluster is None:
            self.epmd = self._start_epmd(epmd_port)
        else:
            shutil.copy(cluster.folder / ".erlang.cookie", folder)
        self.start()
        if cluster is not None:
            self._join(cluster)

    @staticmethod
    def _plugins(folder: Path) -> Path:
        """Link the modules of RabbitMQ, without its plugins, and of Erlang into one folder.

        A node looks for each module in each folder of its path, in another thread each time. With one folder per
        application, this is half the CPU time of a start. `rabbit` itself is there for its configuration's schema.

        Before its first step a node loads every module that an application names, to look for attributes that only
        RabbitMQ's own applications have. So the others name none here, which is a third of the rest.
        """
        root, modules = RabbitMQ.BIN.parent / "lib", folder / RabbitMQ.MODULES
        modules.mkdir(parents=True)
        ours = [part for part in root.glob("rabbitmq_server-*/plugins/*") if not part.name.startswith("rabbitmq_")]
        ours += root.glob("rabbitmq_server-*/plugins/rabbitmq_prelaunch-*")
        for part in (*ours, *RabbitMQ.ERLANG.glob("lib/*")):
            for application in part.glob("ebin/*.app"):
                if not application.name.startswith("rabbit"):
                    names_none = re.sub(rb"\{\s*modules\s*,\s*\[[^\]]*\]", b"{modules, []", application.read_bytes())
                    (modules / application.name).write_bytes(names_none)
            for module in part.glob("ebin/*.beam"):
                if not (modules / module.name).exists():
                    (modules / module.name).symlink_to(module)
            if part.name.startswith("rabbit-"):
                (folder / part.name).symlink_to(part)
        return folder

    @staticmethod
    def _start_epmd(port: str) -> subprocess.Popen[bytes]:
        epmd = shutil.which("epmd") or "/usr/bin/epmd"
        command = [epmd, "-address", "127.0.0.1", "-port", port]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _join(self, cluster: RabbitMQ) -> None:
        try:
            for words in (["await_startup"], ["stop_app"], ["join_cluster", cluster.name], ["start_app"]):
                self.ctl(*words)
        except BaseException:  # no other code knows the process yet
            self.close()
            raise

    @property
    def name(self) -> str:
        """Return the node's name in its cluster."""
        return self.environment["RABBITMQ_NODENAME"]

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    @property
    def tls_url(self) -> str:
        return f"amqps://guest:guest@localhost:{self.tls_port}//"

    def environ(self, scheme: str) -> dict[str, str]:
        """Return the variables of a gateway that connects by `amqp` or `amqps`."""
        if scheme == "amqp":
            return {"AMQP_URL": self.url}
        return {"AMQP_URL": self.tls_url, "AMQP_CA_FILE": str(self.authority.cert)}

    def _settings(self) -> str:
        # For certificates 127.0.0.2 is another host.
        return f"""
            loopback_users = none
            vm_memory_high_watermark.absolute = 2GB
            listeners.ssl.1 = 127.0.0.1:{self.tls_port}
            listeners.ssl.2 = 127.0.0.2:{self.tls_port}
            ssl_options.cacertfile = {self.authority.cert}
            ssl_options.certfile = {self._cert}
            ssl_options.keyfile = {self._key}
            ssl_options.verify = verify_peer
            ssl_options.fail_if_no_peer_cert = false
        """.replace(" " * 12, "")

    @property
    def pid(self) -> int:
        """Return the node's own pid: the process started here is a shell around it."""
        return int((self.folder / "pid").read_text())

    def start(self) -> None:
        self._launch()

        def answers() -> bool:
            # After kill -9 a node may find its own name still taken, and exit.
            if self.process is not None and self.process.poll() is not None:
                self._launch()
            # Send the protocol header: a bare connection would be logged as an error by the node.
            return _answers(self.port, b"AMQP\x00\x00\x09\x01")

        wait_until(answers, f"rabbitmq on {self.port}", START_SECONDS, 0.1)

    def _launch(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.BIN / "rabbitmq-server")], env=self.environment, cwd=self.folder, stdout=log, stderr=log
            )

    def forget(self) -> None:
        """Delete the data of a node that does not run."""
        shutil.rmtree(self.folder / "mnesia")

    def ctl(self, *words: str) -> str:
        """Run a command of `rabbitmqctl`. Return its output. Raises BrokerError or CalledProcessError."""
        return self._run("rabbitmqctl", *words)

    def streams(self, *words: str) -> str:
        """Run a command of `rabbitmq-streams`. Return its output. Raises BrokerError or CalledProcessError."""
        return self._run("rabbitmq-streams", *words)

    def _run(self, tool: str, *words: str) -> str:
        if broker_rpc.available() and (expressions := broker_rpc.expressions(words)):
            cookie = (self.folder / ".erlang.cookie").read_text()
            return broker_rpc.evaluate(self.name, cookie, self.environment, expressions)
        command = [str(self.BIN / tool), "-n", self.name, "-q", *words]
        return subprocess.run(
            command, env=self.environment, check=True, capture_output=True, text=True, timeout=90
        ).stdout

    def close(self) -> None:
        """End the node for good, and its epmd unless it belongs to another node."""
        self.kill()
        if self.epmd is not None:
            self.epmd.kill()
            self.epmd.wait()


KEEP_LOGS: Final = "KEEP_LOGS"
"""Environment variable: if it is set, folders of `scratch` stay, with the logs of brokers and gateways."""


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder in the system's temporary folder, removed at the end unless `KEEP_LOGS` is set."""
    if KEEP_LOGS in os.environ:
        yield Path(tempfile.mkdtemp(prefix="peatio_ws-"))
        return
    with tempfile.TemporaryDirectory(prefix="peatio_ws-", ignore_cleanup_errors=True) as name:
        yield Path(name)
