"""Redis that is slow, unreachable, read-only, failing over or old: failed requests are repeated later."""

from __future__ import annotations

import contextlib
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as client_of
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support import fork_server
from tests.support.gateway import GatewayProcess, Publisher, Signer, receive
from tests.support.gateway import resume as resumes
from tests.support.old_redis import OldRedis
from tests.support.servers import Redis, wait_until
from tests.support.swarm import Swarm, SwarmClient

NUMBER = 7001
TRADE = {"id": 501, "price": "9100.0", "volume": "0.5", "market_id": "btcusd", "ask_id": 31, "bid_id": 41}
UNREACHABLE = "Redis is unreachable; continuing without shared state"
REACHABLE = "Redis is reachable again"
REFUSES = "Redis refuses a request; other requests continue"
ACCEPTS = "Redis accepts the request again"


@pytest.fixture
def own_redis(folder: Path) -> Iterator[Redis]:
    server = Redis(folder / f"redis-{uuid.uuid4().hex}")
    with connected(server.url) as connection:
        connection.hset("peatio:members", "IDANN", NUMBER)
    yield server
    server.kill()


def connected(url: str) -> client_of.Redis:
    return client_of.Redis.from_url(url, protocol=2)


def by_number(publisher: Publisher, order_id: int, number: int = NUMBER) -> None:
    """Publish an order that names its member by number only."""
    publisher.publish("peatio.orderbook", "fanout", {"id": order_id}, headers={"member_id": number})


def order_of(client: Any) -> Any:
    return receive(client)["orderbook"]["id"]


def logged(gateway: GatewayProcess, event: str) -> list[dict[str, Any]]:
    return [line for line in gateway.events() if line["event"] == event]


# ---- member ids that could not be looked up


def test_late_member_id_lookup_loses_no_event(
    start: Callable[..., GatewayProcess], own_redis: Redis, signer: Signer, publisher: Publisher
) -> None:
    gateway = start(REDIS_URL=own_redis.url)
    own_redis.freeze()
    with gateway.member(signer.token("IDANN")) as ann, gateway.member(signer.token("IDBOB")) as bob:
        by_number(publisher, 1)
        by_number(publisher, 2)
        publisher.order("IDANN", 3)
        assert order_of(ann) == 3, "an order with a uid has to arrive at once"
        own_redis.thaw()
        assert [order_of(ann) for _ in range(2)] == [1, 2]
        by_number(publisher, 4)
        publisher.order("IDANN", 5)
        publisher.order("IDBOB", 6)
        assert [order_of(ann) for _ in range(2)] == [4, 5]
        assert order_of(bob) == 6, "bob received another member's order"


def test_late_member_id_repeats_no_trade_and_no_older_order_state(
    start: Callable[..., GatewayProcess], own_redis: Redis, signer: Signer, publisher: Publisher
) -> None:
    gateway = start(REDIS_URL=own_redis.url)
    own_redis.freeze()
    with gateway.member(signer.token("IDANN")) as ann:
        by_number(publisher, 1)
        publisher.order("IDANN", 1, state="done")
        publisher.trade(TRADE, ask_uid="IDANN", bid_member_id=NUMBER)
        publisher.trade({**TRADE, "id": 502}, ask_member_id=NUMBER, bid_member_id=1)
        assert receive(ann)["orderbook"]["state"] == "done"
        assert receive(ann)["trade"]["id"] == 501
        own_redis.thaw()
        assert receive(ann)["trade"]["id"] == 502
        publisher.order("IDANN", 9)
        assert order_of(ann) == 9, "the older state of order 1 is not sent after the newer one"


def test_resume_without_a_known_member_id_is_incomplete(
    start: Callable[..., GatewayProcess], own_redis: Redis, signer: Signer, publisher: Publisher
) -> None:
    gateway = start(REDIS_URL=own_redis.url)
    token = signer.token("IDANN")
    with gateway.connect() as ann:
        before = resumes(ann, token)["cursor"]
    own_redis.kill()
    by_number(publisher, 1)
    publisher.order("IDBOB", 2)
    gateway_two = start(REDIS_URL=own_redis.url)  # does not know Ann's number
    with gateway_two.connect() as ann:
        answer = resumes(ann, token, before)
        assert answer["complete"] is False, "order 1 may belong to Ann"
        by_number(publisher, 3)
        publisher.order("IDANN", 4)
        frame = receive(ann)
        assert frame["orderbook"]["id"] == 4
        assert frame["cursor"] != answer["cursor"], "equal cursors would reveal that order 3 arrived"
    own_redis.start()
    with connected(own_redis.url) as connection:
        connection.hset("peatio:members", "IDANN", NUMBER)
    wait_until(lambda: len(logged(gateway_two, REACHABLE)) == 1, "Redis is back")
    with contextlib.ExitStack() as clients:

        def complete() -> bool:
            nonlocal ann
            ann = clients.enter_context(gateway_two.connect())
            return bool(resumes(ann, token, frame["cursor"])["complete"])

        wait_until(complete, "her number is known when she resumes")
        assert [order_of(ann) for _ in range(2)] == [3, 4]


def test_login_rush_on_a_slow_redis_loses_no_member_id(
    start: Callable[..., GatewayProcess], own_redis: Redis, signer: Signer, publisher: Publisher
) -> None:
    members = {f"RUSH{number}": 10_000 + number for number in range(400)}
    with connected(own_redis.url) as connection:
        connection.hset("peatio:members", mapping=members)
    with OldRedis(own_redis.port) as slow, Swarm() as swarm:
        gateway = start(REDIS_URL=slow.url)
        slow.delay = 0.2
        clients = [SwarmClient(gateway.port, signer.token(uid)) for uid in members]
        for one in clients:
            swarm.join(one)
        swarm.until(lambda: all('"success"' in "".join(one.texts) for one in clients), "all are authenticated", 30)
        for order_id, number in enumerate(members.values()):
            by_number(publisher, order_id, number)
        swarm.until(lambda: all('"orderbook"' in "".join(one.texts) for one in clients), "each has its order", 30)
        assert all("".join(one.texts).count('"orderbook"') == 1 for one in clients)


# ---- refused writes


def refuse_by_replicas(connection: client_of.Redis) -> Callable[[], Any]:
    connection.config_set("min-replicas-to-write", 1)
    return lambda: connection.config_set("min-replicas-to-write", 0)


def refuse_by_memory(connection: client_of.Redis) -> Callable[[], Any]:
    connection.config_set("maxmemory", 1)
    return lambda: connection.config_set("maxmemory", 0)


def refuse_as_replica(connection: client_of.Redis) -> Callable[[], Any]:
    connection.execute_command("REPLICAOF", "127.0.0.1", "1")
    return lambda: connection.execute_command("REPLICAOF", "NO", "ONE")


@pytest.mark.parametrize(
    ("code", "refuse"),
    [("NOREPLICAS", refuse_by_replicas), ("OOM", refuse_by_memory), ("READONLY", refuse_as_replica)],
)
def test_refused_writes_do_not_stop_reads_and_are_logged_once(
    start: Callable[..., GatewayProcess],
    own_redis: Redis,
    signer: Signer,
    publisher: Publisher,
    code: str,
    refuse: Callable[[client_of.Redis], Callable[[], Any]],
) -> None:
    gateway = start(REDIS_URL=own_redis.url)
    wait_until(lambda: gateway.metric("peatio_ws_redis_connected") == 1, "the gateway is connected to Redis")
    with connected(own_redis.url) as connection:
        accept_writes = refuse(connection)
        for order_id in range(5):
            with gateway.member(signer.token("IDANN")) as ann:  # Redis refuses to count the connection
                by_number(publisher, order_id)
                assert order_of(ann) == order_id
            tried = refused_commands(connection)
            wait_until(lambda tried=tried: refused_commands(connection) > tried + 3, "refused several times")
            assert gateway.metric("peatio_ws_redis_connected") == 1
        accept_writes()
        wait_until(lambda: len(logged(gateway, ACCEPTS)) == 1, "writes are accepted again")
    assert [line["code"] for line in logged(gateway, REFUSES)] == [code]
    assert not logged(gateway, UNREACHABLE)
    assert "Traceback" not in gateway.log()


def refused_commands(connection: client_of.Redis) -> int:
    statistics = connection.info("commandstats")
    return sum(one.get("rejected_calls", 0) + one.get("failed_calls", 0) for one in statistics.values())


def test_gateway_follows_a_failover(
    start: Callable[..., GatewayProcess], own_redis: Redis, folder: Path, signer: Signer
) -> None:
    promoted = Redis(folder / f"redis-{uuid.uuid4().hex}")
    try:
        with OldRedis(own_redis.port) as address:
            gateway = start(REDIS_URL=address.url)
            wait_until(lambda: len(logged(gateway, "Redis connected")) == 1, "the gateway has identified the server")
            with gateway.member(signer.token("IDANN")) as ann:
                address.to = promoted.port  # the address leads to the new primary; open connections stay
                with connected(own_redis.url) as demoted:
                    demoted.execute_command("REPLICAOF", "127.0.0.1", promoted.port)
                with connected(promoted.url) as primary:
                    channel = "peatio_ws:steering"
                    wait_until(
                        lambda: dict(primary.pubsub_numsub(channel)) == {channel.encode(): 1},
                        "the gateway listens to the new primary",
                    )
                done = steer(address.url, "disconnect", "IDANN", "--revoke")
                assert done.returncode == 0, done.stderr
                with pytest.raises(ConnectionClosed) as closed:
                    receive(ann)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 4403
    finally:
        promoted.kill()


def steer(url: str, *words: str) -> subprocess.CompletedProcess[str]:
    return fork_server.shared("command").run(["peatio_ws", *words], {"REDIS_URL": url, "PATH": ""}, 60)


# ---- old versions


@pytest.mark.parametrize("version", ["5.0.14", "6.0.16", "6.2.14"])
def test_workers_share_state_through_an_old_redis(
    start: Callable[..., GatewayProcess], own_redis: Redis, signer: Signer, fast_publisher: Publisher, version: str
) -> None:
    limits = {"TRUSTED_PROXIES": "127.0.0.1", "WEBSOCKET_MAX_FAILURES_PER_ADDRESS": "3"}
    with OldRedis(own_redis.port, version) as old:
        first = start(REDIS_URL=old.url, **limits)
        for number in range(450):  # more than one page of orders
            fast_publisher.order("IDBOB", 1000 + number)
        fast_publisher.publish("peatio.orderbook", "fanout", {"id": 31, "state": "wait"}, headers={"uid": "IDANN"})
        with connected(own_redis.url) as connection:
            wait_until(lambda: connection.xlen("peatio_ws:orders") >= 451, "the orders in Redis")
        second = start(REDIS_URL=old.url, **limits)
        wait_until(lambda: len(logged(second, "orders loaded")) == 1, "orders read back")
        assert logged(second, "orders loaded")[0]["orders"] >= 451
        with second.member(signer.token("IDANN")) as ann:
            fast_publisher.trade(TRADE, ask_member_id=NUMBER, bid_member_id=1)
            assert receive(ann)["trade"]["ask"]["state"] == "wait"
            assert steer(old.url, "who", "IDANN").returncode == 0
        wrong = {"Authorization": "Bearer no.good.token", "X-Forwarded-For": "203.0.113.7"}
        for _ in range(3):
            assert status(first, wrong) == 401
        # With a valid token: otherwise the other worker would count failures itself.
        good = {**wrong, "Authorization": f"Bearer {signer.token('IDANN')}"}
        wait_until(lambda: status(second, good) == 429, "the other worker refuses the address")
        with connected(own_redis.url) as connection:
            assert 0 < connection.ttl("peatio_ws:failures:203.0.113.7") <= 60
        for gateway in (first, second):
            assert [line["server_version"] for line in logged(gateway, "Redis connected")] == [version]
            assert not logged(gateway, UNREACHABLE) + logged(gateway, REFUSES)


def test_redis_4_shares_all_but_orders(
    start: Callable[..., GatewayProcess], own_redis: Redis, signer: Signer, publisher: Publisher
) -> None:
    with OldRedis(own_redis.port, "4.0.10") as old:
        gateway = start(REDIS_URL=old.url)
        with gateway.member(signer.token("IDANN")) as ann:
            by_number(publisher, 1)
            assert order_of(ann) == 1
            assert steer(old.url, "who", "IDANN").returncode == 0
        wait_until(lambda: len(logged(gateway, "orders loaded")) == 1, "it has stopped asking for orders")
        assert not logged(gateway, UNREACHABLE) + logged(gateway, REFUSES)
        assert "no streams" in gateway.log()


def status(gateway: GatewayProcess, headers: dict[str, str]) -> int:
    try:
        with gateway.connect(additional_headers=headers):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code
