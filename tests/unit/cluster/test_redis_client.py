"""Clients of one server and of a primary that Sentinel names, without a server.

Real Sentinels are in `tests/faults/test_redis_failover.py`.
"""

from __future__ import annotations

import socket
from typing import Any, cast

import pytest
import redis
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelManagedSSLConnection

from peatio_ws.cluster.redis_client import open_client, open_sentinel
from peatio_ws.cluster.redis_pool import MOST_CONNECTIONS, Pool
from peatio_ws.config.sentinel_url import parse_sentinel_url

URL = "redis+sentinel://u:p@a:1,b/name/3?sentinel_username=su&sentinel_password=sp"


def pool_of(url: str) -> Any:
    return open_client(url, 0.5, "test").connection_pool


@pytest.mark.parametrize("url", ["redis://u:p@h:1/3", URL])
def test_connections_have_time_limits_and_do_not_repeat_requests(url: str) -> None:
    pool = pool_of(url)
    options = pool.connection_kwargs
    assert isinstance(pool, Pool)
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (0.5, 0.5)
    assert options["retry"].get_retries() == 0
    assert (options["db"], options["username"], options["password"]) == (3, "u", "p")
    assert (options["protocol"], options["client_name"]) == (2, "test")
    assert (pool.max_connections, pool.timeout) == (MOST_CONNECTIONS, None)


def test_sentinels_have_their_own_credentials() -> None:
    sentinels = pool_of(URL).sentinel_manager.sentinels
    places = [one.connection_pool.connection_kwargs for one in sentinels]
    assert [(one["host"], one["port"]) for one in places] == [("a", 1), ("b", 26_379)]
    for one in (*places, open_sentinel(parse_sentinel_url(URL), ("a", 1), 0.5).connection_pool.connection_kwargs):
        assert (one["username"], one["password"], one["socket_timeout"]) == ("su", "sp", 0.5)
        assert one["retry"].get_retries() == 0
    without = pool_of(URL.partition("?")[0]).sentinel_manager.sentinels[0].connection_pool.connection_kwargs
    assert (without["username"], without["password"]) == (None, None), "a password of Redis is not sent to Sentinel"


def test_tls_is_used_for_sentinel_and_redis() -> None:
    pool = pool_of("rediss+sentinel://a/name?ssl_ca_certs=/ca.pem")
    (sentinel,) = pool.sentinel_manager.sentinels
    assert pool.connection_class is SentinelManagedSSLConnection
    assert sentinel.connection_pool.connection_class is redis.SSLConnection
    for options in (pool.connection_kwargs, sentinel.connection_pool.connection_kwargs):
        assert options["ssl_ca_certs"] == "/ca.pem"


def test_failed_connections_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def discover(*_: object) -> Any:
        raise MasterNotFoundError("every Sentinel is down")

    monkeypatch.setattr(Sentinel, "discover_master", discover)
    client = open_client(URL, 0.5, "test")
    for _ in range(3 * MOST_CONNECTIONS):  # a lost place would make the next request wait for ever
        with pytest.raises(MasterNotFoundError):
            client.get("key")
    assert not cast(Any, client.connection_pool)._connections


def test_missing_primary_is_reported_without_the_passwords_of_the_sentinels() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    client = open_client(f"redis+sentinel://:p@127.0.0.1:{closed}/name?sentinel_password=sp", 0.5, "test")
    with pytest.raises(MasterNotFoundError) as failed:
        client.ping()
    assert str(failed.value) == "no Sentinel names a primary that is up; `peatio-ws check` says why"


def test_another_primary_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, address = pool_of(URL), [("127.0.0.1", 1)]
    monkeypatch.setattr(Sentinel, "discover_master", lambda *_: address[0])
    assert [pool.has_moved(), pool.has_moved()] == [False, False], "the first primary is not another one"
    address[0] = ("127.0.0.1", 2)
    assert [pool.has_moved(), pool.has_moved()] == [True, False]
    assert not pool_of("redis://h").has_moved()
