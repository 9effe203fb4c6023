"""Checks that the configured addresses can be listened on, before anything else starts, and reports faults in words.

gunicorn would retry a used port for five seconds, and never name the variable.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from peatio_ws.config.in_force import variable_of
from peatio_ws.config.settings import Settings
from peatio_ws.errors import ConfigurationError, Fault, FaultCode


def bind_socket(host: str, port: int) -> socket.socket:
    """Return a TCP socket that listens there. Raises OSError."""
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def fault(settings: Settings, error: OSError, prefix: str = "") -> Fault:
    """Return the fault of an address that cannot be listened on.

    Args:
        settings: have the address, and the names of its variables.
        prefix: of its fields there; empty for the gateway's address, `metrics_` for the operator's.
    """
    host, port = f"{prefix}host", f"{prefix}port"
    host_variable, port_variable = variable_of(settings, host), variable_of(settings, port)
    unknown = error.errno is None or error.errno < 0  # the name does not resolve
    # Not the error's own text: create_server appends the address to it.
    reason = str(error.strerror) if error.errno is None or unknown else os.strerror(error.errno)
    in_use = error.errno == errno.EADDRINUSE
    if unknown or error.errno == errno.EADDRNOTAVAIL:
        advice = f"set {host_variable} to an address of this machine"
    elif in_use:
        advice = f"is Rango or another gateway running there? Otherwise set {port_variable} to another port"
    else:
        advice = f"set {port_variable} to another port, 1024 or higher"
    place = f"{host_variable}={getattr(settings, host)} {port_variable}={getattr(settings, port)}"
    return Fault(
        f"{place}: cannot listen there: {reason}",
        (host_variable, port_variable),
        advice,
        FaultCode.ADDRESS_IN_USE if in_use else None,
    )


def _probe(settings: Settings, host: str, port: int, prefix: str = "") -> list[Fault]:
    try:
        bind_socket(host, port).close()
    except OSError as error:
        return [fault(settings, error, prefix)]
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
    return _probe_unix(Path(settings.unix)) if settings.unix else _probe(settings, settings.host, settings.port)


def inherits_socket(environ: Mapping[str, str]) -> bool:
    """Return whether gunicorn gets an open socket: from systemd, or from the gateway that it replaces (USR2)."""
    return "GUNICORN_FD" in environ or "LISTEN_FDS" in environ


def check_addresses(settings: Settings, inherited: bool = False) -> None:
    """Try the gateway's address and the operator's.

    Args:
        inherited: the gateway's socket is open already. Its address, which is in use, is not tried.

    Raises:
        ConfigurationError: one of them cannot be listened on.
    """
    operators = _probe(settings, settings.metrics_host, settings.metrics_port, "metrics_")
    if faults := ([] if inherited else gateway_faults(settings)) + operators:
        raise ConfigurationError(faults)
