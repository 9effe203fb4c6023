"""Limits that workers count together where there is Redis."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.gateway import GatewayProcess, Signer
from tests.servers import Redis, wait_until
from tests.swarm import Swarm


@pytest.mark.parametrize(
    ("variable", "name", "tokens"),
    [
        ("WEBSOCKET_MAX_CONNECTIONS_PER_MEMBER", "member:IDANN", ["IDANN"] * 12),
        ("WEBSOCKET_MAX_CONNECTIONS_PER_ADDRESS", "address:127.0.0.1", list("ABCDEFGHIJKL")),
    ],
)
def test_a_limit_holds_across_gateways(
    start: Callable[..., GatewayProcess], signer: Signer, redis: Redis, variable: str, name: str, tokens: list[str]
) -> None:
    gateways = [start(REDIS_URL=redis.url, **{variable: "5"}) for _ in range(2)]
    with Swarm() as swarm:
        for number, uid in enumerate(tokens):
            swarm.add(gateways[number % 2].port, [signer.token(uid)])
        swarm.until(
            lambda: sum(client.ended for client in swarm.clients) == len(tokens) - 5, "all but five are sent away"
        )
        refused = [client for client in swarm.clients if client.ended]
        assert {client.close[0] if client.close else client.status for client in refused} <= {1013, 429}
    with Swarm() as swarm:
        wait_until(lambda: _seats(redis, name) == 0, "those who left are counted no more")
        swarm.add(gateways[0].port, [signer.token(uid) for uid in tokens[:5]])
        wait_until(lambda: _seats(redis, name) == 5, "as many as may be")
        swarm.turn(0.1)
        assert not any(client.ended for client in swarm.clients)


def test_without_redis_each_worker_counts_for_itself(start: Callable[..., GatewayProcess], signer: Signer) -> None:
    gateway = start(WEBSOCKET_MAX_CONNECTIONS_PER_MEMBER="5", WEBSOCKET_MAX_CONNECTIONS_PER_ADDRESS="8")
    with Swarm() as swarm:
        swarm.add(gateway.port, [signer.token("IDANN")] * 7)
        swarm.until(lambda: sum(client.ended for client in swarm.clients) == 2, "two too many of this member")
        swarm.add(gateway.port, [signer.token(f"ID{number}") for number in range(5)])
        assert sum(client.status == 429 for client in swarm.clients) == 2


def _seats(redis: Redis, name: str) -> int:
    import redis as client

    with client.Redis.from_url(redis.url) as connection:
        return int(connection.zcard(f"peatio_ws:connections:{name}"))
