"""A pool of connections to Redis: requests wait while all are busy, and connections can be replaced.

Knows neither keys nor how the server is found (`redis_client.py`).
"""

from __future__ import annotations

from typing import Any, Final

import redis

MOST_CONNECTIONS: Final = 16
"""Connections of a client. More requests at the same time wait for each other."""


class Pool(redis.BlockingConnectionPool):
    """A pool that waits while all connections are busy, and replaces dropped connections."""

    def __init__(self, **options: Any) -> None:
        self._dropped: set[Any] = set()
        # A busy pool does not mean that Redis is unreachable: each use ends within the time limit of its socket.
        super().__init__(**options, max_connections=MOST_CONNECTIONS, timeout=None)  # type: ignore[no-untyped-call]

    def drop(self) -> None:
        """Replace all connections, each before its next use."""
        self._dropped = set(self._connections)

    def has_moved(self) -> bool:
        """Return whether new connections lead to another server than before, without asking the server."""
        return False

    def get_connection(self, *arguments: Any, **options: Any) -> Any:
        connection = super().get_connection(*arguments, **options)  # type: ignore[no-untyped-call]
        if connection in self._dropped:
            self._dropped.discard(connection)
            try:
                connection.disconnect()
                connection.connect()
            except BaseException:
                self.release(connection)  # type: ignore[no-untyped-call]
                raise
        return connection
