"""Connections to the primary among several servers of Redis that `REDIS_URL` lists, for failovers without Sentinel.

A new connection tries the servers in their order and uses the first that is a primary; if none is, the first that
answers: it still serves reads. Knows no key.
"""

from __future__ import annotations

from typing import Any

import redis

from peatio_ws.cluster.redis_pool import Pool

Place = tuple[str, int]
"""Host and port."""


class HostsPool(Pool):
    """A pool of connections to the primary."""

    def __init__(self, **options: Any) -> None:
        self._place: Place | None = None
        super().__init__(**options)

    def has_moved(self) -> bool:
        """Return whether new connections lead to another server than before. Raises redis.RedisError if none answers.

        All workers use the same order, so they agree again after a failover, also if the old primary returns as one.
        """
        probe = self.connection_class(**self.connection_kwargs)
        probe.connect()
        probe.disconnect()
        before, self._place = self._place, (probe.host, probe.port)
        return before not in (None, self._place)


class ToPrimary(redis.Connection):
    """A connection to the primary."""

    def __init__(self, *, hosts: tuple[Place, ...], **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self._hosts = hosts

    def connect(self) -> None:
        connected: Any = self._sock
        if connected:
            return
        replica: Place | None = None
        failure: Exception | None = None
        for place in self._hosts:
            try:
                self._connect_to(place)
                if self._is_primary():
                    return
                replica = replica or place
            except (redis.RedisError, OSError) as error:
                failure = error
            self.disconnect()  # type: ignore[no-untyped-call]
        if replica is None and failure is not None:
            raise failure
        self._connect_to(replica or self._hosts[0])

    def _connect_to(self, place: Place) -> None:
        self.host, self.port = place
        super().connect()  # type: ignore[no-untyped-call]

    def _is_primary(self) -> bool:
        self.send_command("ROLE")  # type: ignore[no-untyped-call]
        try:
            return self.read_response()[0] in (b"master", "master")
        except redis.ResponseError:
            return True  # ROLE is forbidden: the first write shows it


class TlsToPrimary(ToPrimary, redis.SSLConnection):
    """A connection to the primary, over TLS."""
