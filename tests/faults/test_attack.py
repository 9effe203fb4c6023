"""The short form of `make attack`: all attacks at once, from a few connections each. Asserts no times."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs.attack import Ground, Members, attacked, closes_by_code
from tests.support.attacks import ATTACKS, ONLY_TLS, OVER_TLS
from tests.support.gateway import WAIT, GatewayProcess
from tests.support.servers import RabbitMQ, wait_until

MEMBERS, EACH, SECONDS = 20, 2, 1.0


@pytest.fixture(scope="module")
def ground(folder: Path, broker: RabbitMQ) -> Iterator[Ground]:
    return Ground(folder, broker)


def check(gateway: GatewayProcess, members: Members) -> None:
    assert members.all_authenticated, "a member was disconnected"
    loud = [event for event in gateway.events() if event["level"] in ("error", "critical")]
    assert not loud, loud[:3]
    assert not gateway.tracebacks()


@pytest.mark.parametrize(
    ("attacks", "tls"),
    [
        pytest.param([name for name in ATTACKS if name not in ONLY_TLS], False, id="plain"),
        pytest.param(list(OVER_TLS), True, id="TLS"),
    ],
)
def test_members_get_all_orders_while_strangers_attack(ground: Ground, attacks: list[str], tls: bool) -> None:
    with (
        ground.gateway(tls, {"WEBSOCKET_MAX_BLOCKING_SECONDS": "0"}) as gateway,
        ground.members(gateway, tls, MEMBERS) as members,
    ):
        known = ground.known(gateway, members, tls)
        with attacked(gateway, attacks, EACH, known, tls, processes=1, idle=False) as counts:
            found = members.measure(SECONDS, WAIT)
            wait_until(lambda: closes_by_code(gateway)["1008"] > 0, "a flooding client is disconnected")
        assert found.lost == 0
        assert sum(one["accepted"] for one in counts) > 0
        check(gateway, members)
