"""A Redis with a replica, and three Redis Sentinels that watch them: real processes on free loopback ports."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Final

import redis

from tests.support.servers import START_SECONDS, Redis, Server, _answers, free_port, wait_until

NAME: Final = "exchange"
PASSWORD, SENTINEL_PASSWORD = "sesame", "rosebud"
"""Of the Redis servers, and of the Sentinels."""
COUNT: Final = 3


class Sentinel(Server):
    """One `redis-server --sentinel`. It writes what it learns into its configuration file."""

    def __init__(self, folder: Path, primary: int) -> None:
        folder.mkdir(parents=True)
        self.port, self._folder = free_port(), folder
        (folder / "sentinel.conf").write_text(f"""
            bind 127.0.0.1
            port {self.port}
            dir {folder}
            requirepass {SENTINEL_PASSWORD}
            sentinel sentinel-pass {SENTINEL_PASSWORD}
            sentinel monitor {NAME} 127.0.0.1 {primary} 2
            sentinel auth-pass {NAME} {PASSWORD}
            sentinel down-after-milliseconds {NAME} 1000
            sentinel failover-timeout {NAME} 3000
        """)
        self.start()

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            command = ["redis-server", str(self._folder / "sentinel.conf"), "--sentinel"]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(lambda: _answers(self.port, b"PING\r\n"), f"sentinel on {self.port}", START_SECONDS)


class SentinelSet:
    """Two Redis servers and the Sentinels.

    Attributes:
        url: `REDIS_URL` of a gateway.
    """

    def __init__(self, folder: Path) -> None:
        own = ("--requirepass", PASSWORD, "--masterauth", PASSWORD)
        self.servers = [Redis(folder / "redis-1", options=own)]
        self.sentinels: list[Sentinel] = []
        try:
            first = self.servers[0].port
            replica = (*own, "--replicaof", f"127.0.0.1 {first}")
            self.servers.append(Redis(folder / "redis-2", options=replica))
            self.sentinels += [Sentinel(folder / f"sentinel-{number}", first) for number in range(COUNT)]
            wait_until(
                lambda: all(map(self._is_complete, self.sentinels)), "all Sentinels know each other and the replica"
            )
        except BaseException:
            self.close()
            raise
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        self.url = f"redis+sentinel://:{PASSWORD}@{hosts}/{NAME}/0?sentinel_password={SENTINEL_PASSWORD}"

    @property
    def primary(self) -> Redis:
        """The server that a Sentinel names."""
        port = self._state(self.sentinels[0])["port"]
        return next(server for server in self.servers if server.port == port)

    def wait_for_failover(self, old: Redis) -> None:
        """Wait until all Sentinels name another primary, and it accepts writes."""
        wait_until(lambda: all(self._state(one)["port"] != old.port for one in self.sentinels), "a failover")
        with client(self.primary.port) as new:
            wait_until(lambda: new.role()[0] == b"master", "the replica is promoted")

    def wait_for_replica(self) -> None:
        """Wait until the other server is a replica that has all data. Without one, no failover is possible."""
        wait_until(lambda: all(map(self._is_complete, self.sentinels)), "the other server is a replica")

    def fail_over(self) -> None:
        """Ask a Sentinel for a failover of a healthy primary."""
        with client(self.sentinels[0].port, SENTINEL_PASSWORD) as sentinel:
            sentinel.sentinel_failover(NAME)

    def close(self) -> None:
        for server in (*self.sentinels, *self.servers):
            server.kill()

    def _is_complete(self, sentinel: Sentinel) -> bool:
        state = self._state(sentinel)
        if state["num-other-sentinels"] != COUNT - 1 or state["is_sdown"]:
            return False
        with client(sentinel.port, SENTINEL_PASSWORD) as asked:
            replicas: Any = asked.sentinel_slaves(NAME)
        up = [one for one in replicas if not (one["is_sdown"] or one["is_odown"] or one["is_disconnected"])]
        return any(one["master-link-status"] == "ok" for one in up)

    @staticmethod
    def _state(sentinel: Sentinel) -> Any:
        with client(sentinel.port, SENTINEL_PASSWORD) as asked:
            return asked.sentinel_masters()[NAME]


def client(port: int, password: str = PASSWORD) -> redis.Redis:
    """Return a client of a Redis or a Sentinel."""
    return redis.Redis("127.0.0.1", port, password=password, protocol=2)
