"""Opens a client of the Redis that `REDIS_URL` names: one server, the primary among several, or that of Redis Sentinel.

With Sentinel each new connection asks for the primary's address, and a connection that answers READONLY is closed
(`redis.sentinel`). Knows no key and no request.
"""

from __future__ import annotations

from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool

from peatio_ws.cluster.redis_hosts import HostsPool, TlsToPrimary, ToPrimary
from peatio_ws.cluster.redis_pool import Pool
from peatio_ws.config.sentinel_url import SentinelUrl, is_sentinel, parse_sentinel_url
from peatio_ws.config.urls import redis_hosts, with_host


class _SentinelPool(SentinelConnectionPool, Pool):
    """A pool of connections to the primary."""

    def has_moved(self) -> bool:
        """Ask Sentinel whether the primary is another one than before. Raises redis.ConnectionError if it is unknown.

        After `SENTINEL FAILOVER` the old primary accepts connections and writes for 10 s more (Redis 7.0).
        """
        before = self.master_address
        return before not in (None, self.get_master_address())  # type: ignore[no-untyped-call]

    def release(self, connection: Any) -> None:
        super().release(connection)  # type: ignore[no-untyped-call]
        # redis-py 8.1.0 replaces connections that failed or lead to an old primary, and keeps them in this list.
        owns: bool = self.owns_connection(connection)  # type: ignore[no-untyped-call]
        if not owns and connection in self._connections:
            self._connections.remove(connection)


class _Sentinels(Sentinel):
    """The Sentinels of a URL."""

    def discover_master(self, service_name: str) -> Any:
        try:
            return super().discover_master(service_name)  # type: ignore[no-untyped-call]
        except MasterNotFoundError:
            # redis-py's text describes its clients; in 6.4 to 7.1 with the password of the Sentinels.
            text = "no Sentinel names a primary that is up; `peatio-ws check` says why"
            raise MasterNotFoundError(text) from None


def open_client(url: str, seconds: float, name: str) -> redis.Redis:
    """Return a client that has no connection yet. `close` ends its connections.

    Args:
        url: `REDIS_URL`, checked.
        seconds: time limit of a connection, and of each answer.
        name: its name in `CLIENT LIST`.
    """
    options: dict[str, Any] = {
        "protocol": 2,  # Redis 5 does not know HELLO
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        "retry": Retry(NoBackoff(), 0),
        "client_name": name,
    }
    return redis.Redis.from_pool(_pool(url, options))


def open_sentinel(url: SentinelUrl, place: tuple[str, int], seconds: float) -> redis.Redis:
    """Return a client of one Sentinel, as the gateway connects to it."""
    options = {"protocol": 2, "socket_timeout": seconds, "socket_connect_timeout": seconds}
    return redis.Redis(*place, **_of_sentinels(url, {**options, "retry": Retry(NoBackoff(), 0)}))


def _pool(url: str, options: dict[str, Any]) -> Pool:
    if is_sentinel(url):
        return _sentinel_pool(parse_sentinel_url(url), options)
    hosts = redis_hosts(url)
    if len(hosts) < 2:
        return Pool.from_url(url, **options)
    kind = TlsToPrimary if url.startswith("rediss") else ToPrimary
    first: dict[str, Any] = parse_url(with_host(url, hosts[0]))  # type: ignore[no-untyped-call]
    return HostsPool(**{**first, **options, "connection_class": kind, "hosts": hosts})


def _sentinel_pool(url: SentinelUrl, options: dict[str, Any]) -> _SentinelPool:
    sentinels = _Sentinels(url.sentinels, sentinel_kwargs=_of_sentinels(url, options))  # type: ignore[no-untyped-call]
    own = {"db": url.database, "username": url.user, "password": url.password, "ssl": url.secure, **_files(url)}
    return _SentinelPool(url.name, sentinels, **options, **own)  # type: ignore[no-untyped-call]


def _of_sentinels(url: SentinelUrl, options: dict[str, Any]) -> dict[str, Any]:
    user, password = (url.parameters.get(f"sentinel_{part}") for part in ("username", "password"))
    own = {"username": user, "password": password, "ssl": url.secure, **_files(url)}
    return {**options, **own}


def _files(url: SentinelUrl) -> dict[str, str]:
    return {name: value for name, value in url.parameters.items() if name.startswith("ssl_")}
