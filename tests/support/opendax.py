"""What OpenDAX's Compose files say about the gateway's place: variables, services, routes. Facts, in our own form.

OpenDAX 2.3 starts Ranger in this place, and 2.4 to 3.0 start Rango, with the same variables and routes. In 3.0 Kaigara
reads the variables from Vault. Knows no test.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.dockerfile import instructions
from tests.support.gateway import ROOT, GatewayProcess, Signer
from tests.support.network import Network
from tests.support.proxies import listens
from tests.support.servers import START_SECONDS, Server, wait_until

RABBITMQ, REDIS = "3.7.6", "4.0.10"
SERVICES = {
    "barong": 8001,
    "peatio": 8000,
    "rango": 8080,
    "applogic": 8081,
    "arke": 8081,
    "finex-api": 8080,
    "rabbitmq": 5672,
    "redis": 6379,
}
"""Names of services, and their ports."""
ENVOY = 8099
ROUTES = (
    ("/api/v2/barong", "barong", "/api/v2/"),
    ("/api/v2/applogic", "applogic", "/api/v2/"),
    ("/api/v2/arke", "arke", "/api/v2/"),
    ("/api/v2/peatio", "peatio", "/api/v2/"),
    ("/api/v2/finex", "finex-api", "/api/v2/"),
    ("/admin", "peatio", ""),
    ("/assets/", "peatio", ""),
    ("/api/v2/ranger/public", "rango", ""),
    ("/api/v2/ranger/private", "rango", ""),
)
"""Envoy's routes in their order: prefix, service, and what replaces the prefix."""
PASSED = ("/api/v2/ranger/public",)
"""What Barong's rules pass, of the gateway's paths."""
ASKED_WITH = (
    "cookie",
    "x-auth-apikey",
    "x-auth-nonce",
    "x-auth-signature",
    "x-csrf-token",
    "user-agent",
    "x-forwarded-host",
    "x-forwarded-for",
    "from",
    "x-forwarded-proto",
    "proxy-authorization",
)
"""The headers with which Envoy asks Barong."""


def variables(signer: Signer) -> dict[str, str]:
    """Return the variables of `rango.env` (2.4 to 2.6) and `ranger.env` (2.3).

    The quotation marks are in the file, and old versions of Compose keep them.
    """
    return {
        "RANGER_HOST": "0.0.0.0",
        "RANGER_PORT": "8080",
        "RANGER_CONNECT_SECURE": '"false"',
        "LOG_LEVEL": "info",
        "RABBITMQ_HOST": "rabbitmq",
        "JWT_PUBLIC_KEY": signer.environ["JWT_PUBLIC_KEY"],
    }


def variables_of_3(signer: Signer) -> dict[str, str]:
    """Return the variables that Rango has in 3.0: those of the file, and those that Kaigara adds."""
    kaigara = {
        "KAIGARA_VAULT_ADDR": "http://vault:8200",
        "KAIGARA_VAULT_TOKEN": "changeme",
        "KAIGARA_DEPLOYMENT_ID": "opendax",
        "KAIGARA_APP_NAME": "rango",
        "KAIGARA_SCOPES": "private",
    }
    return {**kaigara, **variables(signer), "RANGER_CONNECT_SECURE": "false"}


class Rango(GatewayProcess):
    """The service `rango` with this gateway's image: the image's command, its variables, and those of the service.

    Args:
        given: the variables of the service, and no others.
    """

    def __init__(self, folder: Path, network: Network, given: Mapping[str, str]) -> None:
        self._network, self._given = network, given
        super().__init__(folder, {})

    def start(self, wait: bool = True) -> None:
        steps = dict(instructions((ROOT / "deploy" / "Dockerfile").read_text()))  # of each kind the last one
        image = dict(word.split("=", 1) for word in shlex.split(steps["ENV"]))
        self.port, self.metrics_port = SERVICES["rango"], int(self._given.get("METRICS_PORT", "4242"))
        self.environ = {**image, "PATH": os.environ["PATH"], **self._given}
        command = self._network.command([sys.executable, "-m", *json.loads(steps["CMD"])])
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=self.environ, stdout=log, stderr=log)
        if wait:
            try:
                self.wait_ready()
            except BaseException:
                self.kill()
                raise


class Gateway(Server):
    """The service `gateway`: Envoy, which asks Barong about every request."""

    def __init__(self, folder: Path, network: Network) -> None:
        self.port, self._folder, self._network = ENVOY, folder, network
        folder.mkdir()
        self.start()

    def start(self) -> None:
        conf = self._folder / "envoy.json"
        conf.write_text(json.dumps(_envoy()))
        envoy = str(Path(sys.executable).with_name("envoy"))
        words = [envoy, "--disable-hot-restart", "--concurrency", "1", "-l", "warning", "-c", str(conf)]
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self._network.command(words), stdout=log, stderr=log)

        def ready() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, (self._folder / "log").read_text()
            return listens(self.port)

        wait_until(ready, "Envoy listens", START_SECONDS)


def _envoy() -> dict[str, Any]:
    """Return the configuration in the form of today's Envoy (OpenDAX starts 1.10)."""

    def kind(name: str, **fields: Any) -> dict[str, Any]:
        return {"@type": f"type.googleapis.com/envoy.extensions.filters.{name}", **fields}

    asking = kind(
        "http.ext_authz.v3.ExtAuthz",
        transport_api_version="V3",
        with_request_body={"max_request_bytes": 90_000_000, "allow_partial_message": True},
        allowed_headers={"patterns": [{"exact": name} for name in ASKED_WITH]},
        http_service={
            "path_prefix": "/api/v2/auth",
            "server_uri": {"uri": "http://barong:8001", "cluster": "barong", "timeout": "1s"},
            "authorization_response": {"allowed_upstream_headers": {"patterns": [{"exact": "authorization"}]}},
        },
    )
    filters = (
        ("cors", kind("http.cors.v3.Cors")),
        ("ext_authz", asking),
        ("router", kind("http.router.v3.Router")),
    )
    manager = kind(
        "network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="ingress_http",
        http_filters=[{"name": f"envoy.filters.http.{name}", "typed_config": config} for name, config in filters],
        route_config={
            "virtual_hosts": [{"name": "backend", "domains": ["*"], "routes": [_route(*one) for one in ROUTES]}]
        },
    )
    return {
        "static_resources": {
            "listeners": [
                {
                    "address": {"socket_address": {"address": "0.0.0.0", "port_value": ENVOY}},
                    "per_connection_buffer_limit_bytes": 10_000_000,
                    "filter_chains": [
                        {
                            "filters": [
                                {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
                            ]
                        }
                    ],
                }
            ],
            "clusters": [_cluster(name) for name in sorted({"barong", *(name for _, name, _ in ROUTES)})],
        }
    }


def _route(prefix: str, service: str, instead: str) -> dict[str, Any]:
    action: dict[str, Any] = {"cluster": service}
    if instead:
        action["prefix_rewrite"] = instead
    if service == "rango":
        action["upgrade_configs"] = [{"upgrade_type": "websocket"}]
    return {"match": {"prefix": prefix}, "route": action}


def _cluster(name: str) -> dict[str, Any]:
    address = {"socket_address": {"address": name, "port_value": SERVICES[name]}}
    return {
        "name": name,
        "type": "STRICT_DNS",
        "connect_timeout": "0.25s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
