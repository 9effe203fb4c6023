"""Connections to the primary among several servers: small servers that answer only ROLE and ECHO."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from peatio_ws.cluster.redis_client import open_client
from peatio_ws.cluster.redis_hosts import TlsToPrimary, ToPrimary
from tests.support.small_redis import FORBIDDEN, PRIMARY, REPLICA, SmallRedis


@pytest.fixture
def pair() -> Iterator[tuple[SmallRedis, SmallRedis]]:
    first, second = SmallRedis("first", PRIMARY), SmallRedis("second", REPLICA)
    yield first, second
    first.close()
    second.close()


def client_of(*servers: SmallRedis) -> Any:
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
    return open_client(f"redis://{hosts}/0", 5, "test")


def who(client: Any) -> str:
    return str(client.echo("who")).strip("b'")


def test_the_primary_is_used_wherever_it_is_in_the_list(pair: tuple[SmallRedis, SmallRedis]) -> None:
    assert who(client_of(*pair)) == "first"
    assert who(client_of(*reversed(pair))) == "first"


def test_the_first_of_several_primaries_is_used(pair: tuple[SmallRedis, SmallRedis]) -> None:
    pair[1].role = PRIMARY
    assert who(client_of(*pair)) == "first"
    assert who(client_of(*reversed(pair))) == "second"


def test_another_primary_is_used_and_noticed_when_the_first_is_down(pair: tuple[SmallRedis, SmallRedis]) -> None:
    client = client_of(*pair)
    assert not client.connection_pool.has_moved()
    assert who(client) == "first"
    pair[0].close()
    pair[1].role = PRIMARY
    with contextlib.suppress(redis.ConnectionError):  # the request that notices it
        client.echo("who")
    assert who(client) == "second"
    assert client.connection_pool.has_moved()
    assert not client.connection_pool.has_moved()


def test_a_replica_is_read_while_there_is_no_primary(pair: tuple[SmallRedis, SmallRedis]) -> None:
    pair[0].role = REPLICA
    assert who(client_of(*pair)) == "first"


def test_a_user_that_may_not_ask_for_the_role_stays_at_the_first_server(pair: tuple[SmallRedis, SmallRedis]) -> None:
    pair[0].role = FORBIDDEN
    pair[1].role = PRIMARY
    assert who(client_of(*pair)) == "first"


def test_all_servers_down_is_an_error_of_the_connection(pair: tuple[SmallRedis, SmallRedis]) -> None:
    for server in pair:
        server.close()
    with pytest.raises(redis.ConnectionError):
        client_of(*pair).echo("who")
    with pytest.raises(redis.ConnectionError):
        client_of(*pair).connection_pool.has_moved()


def test_tls_and_credentials_apply_to_each_server() -> None:
    pool: Any = open_client("rediss://u:p@a:1,b/3?ssl_ca_certs=/ca.pem", 0.5, "test").connection_pool
    options = pool.connection_kwargs
    assert pool.connection_class is TlsToPrimary
    assert options["hosts"] == (("a", 1), ("b", 6379))
    assert (options["username"], options["password"], options["db"]) == ("u", "p", 3)
    assert (options["ssl_ca_certs"], options["socket_timeout"]) == ("/ca.pem", 0.5)
    assert open_client("redis://a,b", 0.5, "test").connection_pool.connection_class is ToPrimary
