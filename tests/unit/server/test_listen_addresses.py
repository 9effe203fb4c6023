"""An unusable listening address is reported before anything starts, with the variable to change."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from peatio_ws.errors import ConfigurationError
from peatio_ws.server import listen_addresses
from tests.unit.samples import settings


@pytest.fixture
def taken() -> Iterator[str]:
    """A port that another socket uses."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield str(listener.getsockname()[1])


def faults(**environ: str) -> list[str]:
    """Return the findings of `check` for an environment."""
    given = {"WEBSOCKET_HOST": "127.0.0.1", "WEBSOCKET_PORT": "0", "METRICS_HOST": "127.0.0.1", "METRICS_PORT": "0"}
    try:
        listen_addresses.check_addresses(settings(**{**given, **environ}))
    except ConfigurationError as error:
        return list(map(str, error.faults))
    return []


def test_free_ports_are_valid_and_stay_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert faults(WEBSOCKET_PORT=str(port)) == []
    socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.parametrize("name", ["WEBSOCKET", "METRICS"])
def test_port_in_use_is_reported_with_its_variable(taken: str, name: str) -> None:
    assert faults(**{f"{name}_PORT": taken}) == [
        f"{name}_HOST=127.0.0.1 {name}_PORT={taken}: cannot listen there: Address already in use; "
        f"is Rango or another gateway running there? Otherwise set {name}_PORT to another port"
    ]


def test_fault_names_the_variable_that_is_set(taken: str) -> None:
    assert faults(WEBSOCKET_HOST="", WEBSOCKET_PORT="", RANGER_HOST="127.0.0.1", RANGER_PORT=taken) == [
        f"RANGER_HOST=127.0.0.1 RANGER_PORT={taken}: cannot listen there: Address already in use; "
        "is Rango or another gateway running there? Otherwise set RANGER_PORT to another port"
    ]


@pytest.mark.parametrize("host", ["192.0.2.1", "there-is-none.invalid"])
def test_address_of_another_machine_is_reported(host: str) -> None:
    (fault,) = faults(METRICS_HOST=host)
    assert fault.startswith(f"METRICS_HOST={host} METRICS_PORT=0: cannot listen there: ")
    assert fault.endswith("set METRICS_HOST to an address of this machine")


def test_both_faults_are_reported(taken: str) -> None:
    assert len(faults(WEBSOCKET_PORT=taken, METRICS_HOST="192.0.2.1")) == 2


def test_address_of_an_inherited_socket_is_not_tried(taken: str) -> None:
    given = settings(WEBSOCKET_HOST="127.0.0.1", WEBSOCKET_PORT=taken, METRICS_HOST="127.0.0.1", METRICS_PORT="0")
    assert listen_addresses.inherits_socket({"LISTEN_PID": "1", "LISTEN_FDS": "1"})
    listen_addresses.check_addresses(given, inherited=True)


def test_privileged_port_is_reported() -> None:
    error = PermissionError(13, "Permission denied")
    assert str(listen_addresses.fault(settings(), error)).endswith("set WEBSOCKET_PORT to another port, 1024 or higher")


def test_unix_socket_needs_a_folder_and_replaces_only_an_old_socket(tmp_path: Path) -> None:
    assert faults(WEBSOCKET_UNIX=str(tmp_path / "a.sock")) == []
    assert "is not a writable folder" in faults(WEBSOCKET_UNIX=str(tmp_path / "none" / "a.sock"))[0]
    (tmp_path / "file").write_text("somebody's")
    assert faults(WEBSOCKET_UNIX=str(tmp_path / "file")) == [
        f"WEBSOCKET_UNIX={tmp_path}/file: cannot listen there: it exists and is not a socket"
    ]
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(tmp_path / "old.sock"))
        assert faults(WEBSOCKET_UNIX=str(tmp_path / "old.sock")) == []
    assert os.path.exists(tmp_path / "old.sock"), "checking removed the socket file"


def test_ipv6_address_is_accepted() -> None:
    with listen_addresses.bind_socket("::1", 0) as listener:
        assert listener.family is socket.AF_INET6
