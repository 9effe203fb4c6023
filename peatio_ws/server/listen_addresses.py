"""Checks that the configured addresses can be listened on, before anything else starts, and reports faults in words.

gunicorn would retry a used port for five seconds, and never name the variable.
"""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

from peatio_ws.config.settings import Settings
from peatio_ws.errors import ConfigurationError, Fault, FaultCode


def bind_socket(host: str, port: int) -> socket.socket:
    """Return a TCP socket that listens there. Raises OSError."""
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def fault(name: str, host: str, port: int, error: OSError) -> Fault:
    """Return the fault of an address that cannot be listened on. `name` is the prefix of its variables."""
    unknown = error.errno is None or error.errno < 0  # the name does not resolve
    # Not the error's own text: create_server appends the address to it.
    reason = str(error.strerror) if error.errno is None or unknown else os.strerror(error.errno)
    in_use = error.errno == errno.EADDRINUSE
    if unknown or error.errno == errno.EADDRNOTAVAIL:
        advice = f"set {name}_HOST to an address of this machine"
    elif in_use:
        advice = f"is another gateway running? Otherwise set {name}_PORT to another port"
    else:
        advice = f"set {name}_PORT to another port, 1024 or higher"
    return Fault(
        f"{name}_HOST={host} {name}_PORT={port}: cannot listen there: {reason}",
        (f"{name}_HOST", f"{name}_PORT"),
        advice,
        FaultCode.ADDRESS_IN_USE if in_use else None,
    )


def _probe(name: str, host: str, port: int) -> list[Fault]:
    try:
        bind_socket(host, port).close()
    except OSError as error:
        return [fault(name, host, port, error)]
    return []


def _probe_unix(path: Path) -> list[Fault]:
    if not os.access(path.parent, os.W_OK | os.X_OK):
        why = f"{path.parent} is not a writable folder"
    elif path.exists() and not path.is_socket():
        why = "it exists and is not a socket"
    else:
        return []
    return [Fault(f"WEBSOCKET_UNIX={path}: cannot listen there: {why}", ("WEBSOCKET_UNIX",))]


def gateway_faults(settings: Settings) -> list[Fault]:
    """Return why the gateway cannot listen, one line each; empty if it can."""
    return _probe_unix(Path(settings.unix)) if settings.unix else _probe("WEBSOCKET", settings.host, settings.port)


def check_addresses(settings: Settings) -> None:
    """Try the gateway's address and the operator's.

    Raises:
        ConfigurationError: one of them cannot be listened on.
    """
    if faults := gateway_faults(settings) + _probe("METRICS", settings.metrics_host, settings.metrics_port):
        raise ConfigurationError(faults)
