"""Parses the URL of a Redis that Redis Sentinel names. Errors never contain the URL, which may contain a password.

    redis+sentinel://user:password@sentinel-1:26379,sentinel-2:26379/mymaster/0?sentinel_password=…

Pure. Knows no Redis.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from peatio_ws.config.host_names import is_host
from peatio_ws.config.tls_files import REDIS_PARAMETERS, check_parameters, split

SCHEMES: Final = ("redis+sentinel", "rediss+sentinel")
EXAMPLE: Final = "redis+sentinel://user:password@sentinel-1:26379,sentinel-2:26379/mymaster/0"
SENTINEL_PORT: Final = 26_379

_NAME: Final = re.compile(r"[A-Za-z0-9._-]+").fullmatch  # the characters that Sentinel accepts in a name
_PARAMETERS: Final = ("sentinel_username", "sentinel_password")
_NO_URL: Final = f"is not a URL like {EXAMPLE}"


class SentinelUrl(NamedTuple):
    """The parts of a URL.

    Attributes:
        sentinels: host and port of each Sentinel.
        name: the name of the primary, `mymaster` in most configurations.
        database: number of the database.
        user, password: of Redis; None if not given.
        secure: whether Sentinel and Redis use TLS.
        parameters: of the query: `sentinel_username`, `sentinel_password`, and certificate files by redis-py's names.
    """

    sentinels: tuple[tuple[str, int], ...]
    name: str
    database: int
    user: str | None
    password: str | None
    secure: bool
    parameters: dict[str, str]

    @property
    def place(self) -> str:
        """The Sentinels and the name, for people."""
        return f"{self.name} of Sentinel at {', '.join(f'{host}:{port}' for host, port in self.sentinels)}"


def is_sentinel(url: str) -> bool:
    """Return whether the URL names Sentinels rather than a server."""
    return url.partition(":")[0] in SCHEMES


def parse_sentinel_url(url: str) -> SentinelUrl:
    """Parse a URL. Raises ValueError with what is wrong."""
    bare, parameters = split(url)
    scheme, _, rest = bare.partition("://")
    authority, _, path = rest.partition("/")
    credentials, _, hosts = authority.rpartition("@")
    user, _, password = (unquote(part) for part in credentials.partition(":"))
    name, _, database = path.partition("/")
    if not _NAME(name) or not re.fullmatch(r"[0-9]{0,5}", database):
        raise ValueError(_NO_URL)
    secure = scheme == SCHEMES[1]
    known = (*_PARAMETERS, *(REDIS_PARAMETERS if secure else ()))
    check_parameters(scheme, parameters, known)
    sentinels = tuple(_host(part) for part in hosts.split(","))
    return SentinelUrl(sentinels, name, int(database or 0), user or None, password or None, secure, parameters)


def _host(text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text.strip()}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(_NO_URL) from None
    if not host or not is_host(host) or parts.path or "@" in parts.netloc:
        raise ValueError(_NO_URL)
    return host, SENTINEL_PORT if port is None else port
