"""The real nginx and the real Envoy with the files of `deploy/`, on free loopback ports, in a private folder.

A file is used unchanged except for addresses and folders: each of those has to occur in it exactly once.
"""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from tests.support.certificate import Certificate
from tests.support.gateway import ROOT, GatewayProcess
from tests.support.servers import START_SECONDS, Server, free_port, wait_until


def replaced(text: str, changes: Sequence[tuple[str, str]]) -> str:
    """Return the text with each of these replaced. Each has to occur exactly once."""
    for old, new in changes:
        assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
        text = text.replace(old, new)
    return text


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True


class Proxy(Server):
    """A proxy that listens with TLS on `port`.

    Args:
        folder: for its files.
        gateways: two of them.
        certificate: of `localhost`.
    """

    def __init__(self, folder: Path, gateways: Sequence[GatewayProcess], certificate: Certificate) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.gateways, self.certificate = folder, gateways, certificate
        self.port, self.tls = free_port(), certificate.trusted()
        self.start()

    def command(self) -> list[str]:
        """Write its configuration. Return the command that runs it in the foreground."""
        raise NotImplementedError

    def start(self) -> None:
        command = self.command()
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

        def ready() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, f"{command[0]} ended:\n{self.log()}"
            return listens(self.port)

        wait_until(ready, f"{command[0]} listens on {self.port}", START_SECONDS)

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def accesses(self) -> str:
        """Its access log."""
        raise NotImplementedError


def nginx_command(folder: Path, port: int, certificate: Certificate, changes: Sequence[tuple[str, str]]) -> list[str]:
    """Write `deploy/nginx.conf` into a folder, with these changes too. Return the command that runs nginx with it."""
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    places = [
        ("\nhttp {\n", f"\nhttp {{\n{temporary}"),
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/nginx/tls/cert.pem", str(certificate.cert)),
        ("/etc/nginx/tls/key.pem", str(certificate.key)),
        ("/var/log/nginx/access.log", str(folder / "access.log")),
    ]
    conf = folder / "nginx.conf"
    conf.write_text(replaced((ROOT / "deploy" / "nginx.conf").read_text(), [*places, *changes]))
    # As the user who made the Unix sockets' folder, which no other user can enter.
    outside = f"daemon off; pid {folder}/pid; user {getpass.getuser()};"
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"  # where Debian has it, and not everybody's PATH
    return [nginx, "-p", str(folder), "-e", "stderr", "-c", str(conf), "-g", outside]


class Nginx(Proxy):
    """`deploy/nginx.conf`. Gateways with a Unix socket are reached by that."""

    def command(self) -> list[str]:
        def target(gateway: GatewayProcess) -> str:
            where = gateway.environ.get("WEBSOCKET_UNIX")
            return f"server unix:{where} " if where else f"server 127.0.0.1:{gateway.port} "

        targets = [(f"server gateway-{number}:8080 ", target(one)) for number, one in enumerate(self.gateways, 1)]
        return nginx_command(self.folder, self.port, self.certificate, targets)

    def accesses(self) -> str:
        return (self.folder / "access.log").read_text()


class Envoy(Proxy):
    """`deploy/envoy.yaml`.

    Class attributes:
        barong: the port that Barong has; nothing listens on port 1.
    """

    barong: ClassVar[int] = 1

    def command(self) -> list[str]:
        changes = [
            ("address: barong, port_value: 8080", f"address: 127.0.0.1, port_value: {self.barong}"),
            ("address: 0.0.0.0, port_value: 443", f"address: 127.0.0.1, port_value: {self.port}"),
            ("/etc/envoy/tls/cert.pem", str(self.certificate.cert)),
            ("/etc/envoy/tls/key.pem", str(self.certificate.key)),
        ]
        text = replaced((ROOT / "deploy" / "envoy.yaml").read_text(), changes)
        for number, gateway in enumerate(self.gateways, 1):
            text = replaced(text, [(f"gateway-{number}, port_value: 8080", f"127.0.0.1, port_value: {gateway.port}")])
            text = text.replace("port_value: 4242 }", f"port_value: {gateway.metrics_port} }}", 1)
        conf = self.folder / "envoy.yaml"
        conf.write_text(text)
        envoy = str(Path(sys.executable).with_name("envoy"))
        return [envoy, "--disable-hot-restart", "--concurrency", "1", "-l", "warning", "-c", str(conf)]

    def accesses(self) -> str:
        return self.log()
