"""Limits that workers count together through Redis, and the limit of small frames."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping

import pytest

from tests.support.gateway import GatewayProcess, Publisher, Signer, authenticate, receive
from tests.support.raw_client import CLOSE, PING, PONG, TEXT, WAIT, RawClient, frame, text
from tests.support.servers import Redis, wait_until
from tests.support.swarm import Swarm


@pytest.mark.parametrize(
    ("variable", "name", "tokens"),
    [
        ("WEBSOCKET_MAX_CONNECTIONS_PER_MEMBER", "member:IDANN", ["IDANN"] * 12),
        ("WEBSOCKET_MAX_CONNECTIONS_PER_ADDRESS", "address:127.0.0.1", list("ABCDEFGHIJKL")),
    ],
)
def test_connection_limit_holds_across_gateways(
    start: Callable[..., GatewayProcess], signer: Signer, redis: Redis, variable: str, name: str, tokens: list[str]
) -> None:
    gateways = [start(REDIS_URL=redis.url, **{variable: "5"}) for _ in range(2)]
    with Swarm() as swarm:
        for number, uid in enumerate(tokens):
            swarm.add(gateways[number % 2].port, [signer.token(uid)])
        swarm.until(
            lambda: sum(client.ended for client in swarm.clients) == len(tokens) - 5, "all but five are refused"
        )
        refused = [client for client in swarm.clients if client.ended]
        assert {client.close[0] if client.close else client.status for client in refused} <= {1013, 429}
    with Swarm() as swarm:
        wait_until(lambda: _seats(redis, name) == 0, "disconnected clients are no longer counted")
        swarm.add(gateways[0].port, [signer.token(uid) for uid in tokens[:5]])
        wait_until(lambda: _seats(redis, name) == 5, "the limit is reached")
        swarm.turn(0.1)
        assert not any(client.ended for client in swarm.clients)


def test_without_redis_each_worker_counts_for_itself(start: Callable[..., GatewayProcess], signer: Signer) -> None:
    gateway = start(WEBSOCKET_MAX_CONNECTIONS_PER_MEMBER="5", WEBSOCKET_MAX_CONNECTIONS_PER_ADDRESS="8")
    with Swarm() as swarm:
        swarm.add(gateway.port, [signer.token("IDANN")] * 7)
        swarm.until(
            lambda: sum(client.ended for client in swarm.clients) == 2, "two connections of the member are refused"
        )
        swarm.add(gateway.port, [signer.token(f"ID{number}") for number in range(5)])
        assert sum(client.status == 429 for client in swarm.clients) == 2


def test_failed_tokens_of_an_address_count_across_gateways(
    start: Callable[..., GatewayProcess], signer: Signer, redis: Redis
) -> None:
    environ = {"REDIS_URL": redis.url, "TRUSTED_PROXIES": "127.0.0.1", "WEBSOCKET_MAX_FAILURES_PER_ADDRESS": "6"}
    gateways = [start(**environ) for _ in range(2)]
    address, good = "203.0.113.5", signer.token("IDANN")
    began = time.monotonic()
    for gateway in gateways:
        for _ in range(3):
            assert _handshake(gateway, "nonsense", address)[0] == 401
    wait_until(lambda: _handshake(gateways[0], good, address)[0] == 429, "the first gateway refuses the address")
    wait_until(lambda: _handshake(gateways[1], good, address)[0] == 429, "the other gateway refuses it, too")
    _, headers = _handshake(gateways[0], "nonsense", address)
    assert 59 - (time.monotonic() - began) <= int(headers["retry-after"]) <= 60
    assert _handshake(gateways[0], good, "203.0.113.6")[0] == 101, "another address was refused"
    with RawClient(gateways[1].port) as client:
        assert client.request({"X-Forwarded-For": address}).status == 101, "a connection without a token was refused"
        assert "challenge" in client.json()
        client.send(text({"jwt": f"Bearer {good}"}))
        code, reason = client.closed()
        assert (code, reason[:-2]) == (1013, "too many tokens from this address failed; retry after ")
    lockouts = [line for gateway in gateways for line in gateway.events() if "address locked out" in line["event"]]
    assert [line["address"] for line in lockouts] == [address]
    for gateway in gateways:
        _wait_for_metric(gateway, "limited", lambda count: count > 0)
        _wait_for_metric(gateway, "refused", lambda count: count == 3)


def _wait_for_metric(gateway: GatewayProcess, outcome: str, fits: Callable[[float], bool]) -> None:
    """Wait for a metric, which workers export once a second."""
    name = f'peatio_ws_authentications_total{{outcome="{outcome}"}}'
    wait_until(lambda: fits(gateway.metric(name)), name)


def test_without_redis_a_worker_counts_failed_tokens_for_itself(
    start: Callable[..., GatewayProcess], signer: Signer
) -> None:
    gateway = start(WEBSOCKET_MAX_FAILURES_PER_ADDRESS="6")
    with gateway.member(signer.token("IDANN")) as ann:
        for _ in range(6):
            assert _handshake(gateway, "nonsense", "")[0] == 401
        assert _handshake(gateway, signer.token("IDANN"), "")[0] == 429
        authenticate(ann, signer.token("IDANN"))  # a connected client may renew its token


def _handshake(gateway: GatewayProcess, token: str, address: str) -> tuple[int, Mapping[str, str]]:
    """Return status and headers of the answer to a handshake with this token, sent through a proxy."""
    with RawClient(gateway.port) as client:
        forwarded = {"X-Forwarded-For": address} if address else {}
        answer = client.request({"Authorization": f"Bearer {token}", **forwarded}, "GET /private HTTP/1.1")
        return answer.status, answer.headers


FLOODS = 100
ORDERS = 50


def test_control_frame_floods_are_closed_and_delay_no_orders(
    start: Callable[..., GatewayProcess], signer: Signer, publisher: Publisher
) -> None:
    gateway = start()
    over = threading.Event()
    with contextlib.ExitStack() as stack:
        ann = stack.enter_context(gateway.member(signer.token("IDANN")))
        floods = [stack.enter_context(RawClient(gateway.port)) for _ in range(FLOODS)]
        for client in floods:
            client.upgrade("/public?stream=btcusd.trades")

        def flood(some: list[RawClient], data: bytes) -> None:
            while some and not over.is_set():
                for client in list(some):
                    try:
                        client.send(data)
                    except OSError:
                        some.remove(client)
                time.sleep(0.05)  # 60 KB/s each; sending fails once the connection is closed

        kinds = [frame(PONG), frame(PING), frame(PONG), frame(PING)]
        parts = [
            threading.Thread(target=flood, args=(floods[number::4], kind * 500)) for number, kind in enumerate(kinds)
        ]
        for part in parts:
            part.start()
        stack.callback(over.set)
        for number in range(ORDERS):
            publisher.order("IDANN", number)
        assert [receive(ann)["orderbook"]["id"] for _ in range(ORDERS)] == list(range(ORDERS))
        for client in floods[:5]:
            while (found := client.next()) is not None and found.opcode != CLOSE:
                pass
            assert found is None or found.payload == b"\x03\xf0too many frames"
        name = 'peatio_ws_closes_total{by="gateway",code="1008"}'
        wait_until(lambda: gateway.metric(name) == FLOODS, "all flooding clients are disconnected")
        over.set()
        for part in parts:
            part.join(WAIT)


def test_client_that_pings_within_the_limit_stays_connected(start: Callable[..., GatewayProcess]) -> None:
    gateway = start()
    with RawClient(gateway.port).upgrade("/public?stream=btcusd.trades") as client:
        client.send(frame(PING) * 500)
        pongs = 0
        while pongs < 500:
            found = client.next()
            assert found is not None
            assert found.opcode in (PONG, TEXT)
            pongs += found.opcode == PONG


def _seats(redis: Redis, name: str) -> int:
    import redis as client

    with client.Redis.from_url(redis.url) as connection:
        return int(connection.zcard(f"peatio_ws:connections:{name}"))
