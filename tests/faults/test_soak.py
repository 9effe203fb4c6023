"""The short form of `make soak`, over TLS; and what idle clients hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.programs.soak import held, is_back, soak
from tests.support.certificate import Certificate
from tests.support.gateway import GatewayProcess, Publisher, Signer
from tests.support.servers import RabbitMQ, seldom
from tests.support.swarm import Swarm


def test_clients_leave_nothing_behind(folder: Path, broker: RabbitMQ) -> None:
    before, after, got = soak(folder, broker, seconds=8, clients=200, rate=200, least=200, tls=True)
    assert is_back(before, after), (before, after)
    assert got > 200


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_idle_clients_have_no_greenlets_and_receive_everything(
    start: Callable[..., GatewayProcess], signer: Signer, publisher: Publisher, folder: Path, scheme: str
) -> None:
    files = Certificate(folder / "idle-tls") if scheme == "wss" else None
    command, tls = ("gunicorn", "tests.support.apps.soak_app"), files.trusted() if files else None
    gateway = start(command=command, **(files.environ if files else {}))
    held(gateway, tls)
    before, count = held(gateway, tls), 100
    idle = seldom(lambda: held(gateway, tls)["greenlets"] <= before["greenlets"] + 2)
    with Swarm() as swarm:
        swarm.add(gateway.port, [signer.token(f"ID{number}") for number in range(count)], tls=tls)
        for order in range(3):
            swarm.until(idle, "all are idle")
            for client in swarm.clients:
                client.texts.clear()
                client.send(b"{}")  # answered with an error
            for number in range(count):
                publisher.order(f"ID{number}", order)
            swarm.until(lambda: all(len(client.texts) == 2 for client in swarm.clients), "events and answers")
        swarm.until(idle, "all are idle again")
        assert held(gateway, tls)["connections"] == count
        swarm.drop(swarm.clients)
        swarm.until(seldom(lambda: held(gateway, tls)["connections"] == 0), "their ends are noticed")
