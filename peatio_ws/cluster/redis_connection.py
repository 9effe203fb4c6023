"""A worker's connections to Redis: whether it is reachable, its version, and the requests that it refuses.

A request has one of three outcomes:

- an answer;
- a refusal: Redis answers an error to this request (READONLY, OOM, MISCONF, NOREPLICAS, NOPERM, WRONGTYPE …). Other
  requests may still succeed, so reads continue while writes are refused. Each code is logged once when it begins and
  once when it ends;
- unreachable: there is no connection, no answer in time, or Redis accepts no client (LOADING, NOAUTH). This is logged
  once, and so is the recovery.

Decisions use the code of an error reply, which RESP puts first, and never its text. All requests work with Redis 5, so
the code is the same for all versions. Knows no key except its own probe.
"""

from __future__ import annotations

import contextlib
import enum
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

import redis
import structlog

from peatio_ws.cluster.redis_client import open_client
from peatio_ws.cluster.redis_keys import PROBE_KEY
from peatio_ws.cluster.redis_pool import Pool

log = structlog.get_logger("peatio_ws.cluster.redis_connection")

REDIS_TIMEOUT: Final = 1.0
"""Seconds for a connection, and for each answer."""
PROBE: Final = "a write"
PROBE_SECONDS: Final = (2.0, 0.5)
"""Seconds between two test writes of a worker, even an idle one; the second value counts while Redis refuses writes."""
QUIET_SECONDS: Final = 5.0
"""A refusal ends when the request succeeds, and none was refused with this code for this long."""
DROP_SECONDS: Final = 1.0
"""Connections to a Redis that answers READONLY are dropped at most this often."""
STREAMS_SINCE: Final = (5, 0)
"""First version of Redis with streams. Workers share orders as last seen in a stream."""

_CODES: Final[dict[type[Exception], str]] = {
    redis.ReadOnlyError: "READONLY",
    redis.OutOfMemoryError: "OOM",
    redis.BusyLoadingError: "LOADING",
    redis.AuthenticationError: "NOAUTH",
    redis.exceptions.NoPermissionError: "NOPERM",
    redis.exceptions.MasterDownError: "MASTERDOWN",
    redis.exceptions.ExecAbortError: "EXECABORT",
}
"""redis-py removes these codes from the text: 8.1.0 keeps them as `status_code`, older versions have only the class."""
_SERVER_WIDE: Final = frozenset(("READONLY", "OOM", "MISCONF", "NOREPLICAS", "MASTERDOWN"))
"""Codes that concern the whole server, not one request. They end when a write succeeds."""


def code_of(error: BaseException) -> str:
    """Return the code of an error reply, such as READONLY; an empty text if the error is not a reply.

    RESP: "The first upper-case word after the -, up to the first space or newline, represents the kind of error".
    """
    if given := getattr(error, "status_code", None):
        return str(given)
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return code
    if not isinstance(error, redis.ResponseError):
        return ""
    word = str(error).partition(" ")[0]
    return word if word.isupper() and word.isalpha() else "ERR"


class RedisStatus(enum.Enum):
    """Whether Redis is reachable.

    Each request either gets an answer (refusals are answers too) or finds Redis unreachable:

        state        answer     no answer
        UNKNOWN      CONNECTED  UNREACHABLE
        CONNECTED    CONNECTED  UNREACHABLE
        UNREACHABLE  CONNECTED  UNREACHABLE
    """

    UNKNOWN = "unknown"
    CONNECTED = "connected"
    UNREACHABLE = "unreachable"


@dataclass(slots=True)
class _Refusal:
    """A refused request: since when, the time of the last refusal, and whether it has succeeded since."""

    since: float
    last: float
    over: bool = False


class RedisConnection:
    """The connections of one worker.

    Args:
        url: `REDIS_URL`.

    Attributes:
        redis: the client.
        generation: increases when another server may answer at this address; listeners then subscribe again.
        version: version that Redis reports; None while unknown.
    """

    def __init__(self, url: str) -> None:
        self.redis = open_client(url, REDIS_TIMEOUT, "peatio_ws")
        self._pool = cast(Pool, self.redis.connection_pool)
        self.generation = 0
        self.version: tuple[int, ...] | None = None
        self._state = RedisStatus.UNKNOWN
        self._unreachable_since = self._answered = self._probe_at = self._drop_at = 0.0
        self._refusals: dict[tuple[str, str], _Refusal] = {}  # by code and request; PROBE if it is server-wide
        self._silent_in = -1  # generation in which Redis refuses INFO
        self._run_id = self._logged_version = ""

    @property
    def connected(self) -> bool:
        """Whether Redis answered the last request."""
        return self._state is RedisStatus.CONNECTED

    @property
    def unreachable(self) -> bool:
        """Whether the last request found no Redis."""
        return self._state is RedisStatus.UNREACHABLE

    @property
    def refused(self) -> frozenset[str]:
        """Codes of the current refusals."""
        return frozenset(code for code, _ in self._refusals)

    @property
    def has_streams(self) -> bool:
        """Whether this version has streams; assumed if the version is unknown."""
        return self.version is None or self.version >= STREAMS_SINCE

    def ask(self, request: str, question: Callable[[], Any]) -> Any:
        """Send a request, and return its answer; None if Redis refuses it or is unreachable.

        Args:
            request: a short name for the log, the same for each request of a kind.
            question: sends the request; returns the answer or raises the error.
        """
        began = time.monotonic()
        try:
            answer = question()
            if isinstance(answer, list):
                _raise_first(answer)
        except redis.ResponseError as error:
            self._on_answer()
            self._on_refusal(request, error)
            return None
        except (redis.RedisError, OSError) as error:
            if self._answered <= began:  # else another request was answered meanwhile
                self._on_unreachable(error)
            return None
        self._on_answer()
        if self._refusals:
            self._on_success(request)
        return answer

    def run(self, request: str, pipe: Any) -> Any:
        """`ask` with a pipeline: the list of its answers; None if one of its commands is refused."""
        # raise_on_error would put the command, with a member's order, into the error's text (redis-py 8.1.0).
        return self.ask(request, lambda: pipe.execute(raise_on_error=False))

    def maintain(self) -> None:
        """Check from time to time which server answers, and whether it accepts writes. May wait."""
        if time.monotonic() < self._probe_at:
            return
        with contextlib.suppress(redis.RedisError, OSError):  # with a single server, connections stay where they are
            if self._pool.has_moved():
                self._use_another_server()
        if self._silent_in != self.generation:
            self._find_server()
        self.ask(PROBE, lambda: self.redis.set(PROBE_KEY, b"", px=1))
        self._probe_at = time.monotonic() + PROBE_SECONDS[bool(self._refusals)]

    def _find_server(self) -> None:
        found = self.ask("INFO", lambda: self.redis.info("server"))
        if found is None:
            if self.connected:
                self._silent_in = self.generation  # INFO is refused
            return
        run_id = str(found.get("run_id", ""))
        if self._run_id not in ("", run_id):
            self._use_another_server()  # without a refusal
        self._run_id = run_id
        name, version = named_version(found)
        self.version = numbers(str(found.get("redis_version", "")))
        if self._logged_version != f"{name} {version}":
            self._logged_version = f"{name} {version}"
            log.info("Redis connected", server=name, server_version=version)
            if not self.has_streams:
                log.warning(
                    "this version of Redis has no streams; orders as last seen are not shared", server_version=version
                )

    def _use_another_server(self) -> None:
        """Replace all connections: listeners and idle connections may still be at the old server."""
        self._pool.drop()
        self.generation += 1

    def _on_answer(self) -> None:
        self._answered = time.monotonic()
        was, self._state = self._state, RedisStatus.CONNECTED
        if was is RedisStatus.UNREACHABLE:
            self.generation += 1
            self._probe_at = 0.0
            log.info("Redis is reachable again", seconds_unreachable=round(self._answered - self._unreachable_since, 1))

    def _on_unreachable(self, error: BaseException) -> None:
        was, self._state = self._state, RedisStatus.UNREACHABLE
        if was is RedisStatus.UNREACHABLE:
            return
        self._unreachable_since = time.monotonic()
        code = code_of(error)
        text = "Redis accepts no clients" if code else "Redis is unreachable"
        log.warning(f"{text}; continuing without shared state", code=code, error=str(error) or repr(error))

    def _on_refusal(self, request: str, error: BaseException) -> None:
        code, now = code_of(error), time.monotonic()
        key = (code, PROBE if code in _SERVER_WIDE else request)
        known = self._refusals.get(key)
        if known is None:
            self._refusals[key] = _Refusal(now, now)
            log.warning("Redis refuses a request; other requests continue", code=code, request=request)
        else:
            known.last, known.over = now, False
        if code == "READONLY" and now >= self._drop_at:
            # A replica: after a failover the primary answers under this address, to new connections.
            self._drop_at = now + DROP_SECONDS
            self._pool.drop()

    def _on_success(self, request: str) -> None:
        now = time.monotonic()
        for (code, refused), known in list(self._refusals.items()):
            if refused != request:
                continue
            self.generation += code == "READONLY" and not known.over  # another server: listeners must reconnect
            known.over = True
            if now - known.last >= QUIET_SECONDS:
                del self._refusals[code, refused]
                log.info(
                    "Redis accepts the request again", code=code, request=request, seconds=round(now - known.since)
                )


def named_version(info: dict[str, Any]) -> tuple[str, str]:
    """Return name and version of a server from its answer to INFO. Valkey reports the version of Redis, too."""
    if "valkey_version" in info:
        return "Valkey", str(info["valkey_version"])
    return "Redis", str(info.get("redis_version", "unknown"))


def numbers(version: str) -> tuple[int, ...] | None:
    """Return a version as numbers; None if it is not a version."""
    parts = version.split(".")
    return tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else None


def _raise_first(answers: list[Any]) -> None:
    """Raise the first error reply among the answers of a pipeline."""
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
