"""Validates the URLs of brokers, Redis and JWK sets. Errors never contain a URL, which may contain a password.

Pure. `settings.py` uses these validators; `tls_files.py` handles certificate files in a URL's query.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import urlsplit

from peatio_ws.config.host_names import is_host
from peatio_ws.config.sentinel_url import is_sentinel, parse_sentinel_url
from peatio_ws.config.tls_files import REDIS_PARAMETERS, check_parameters, parameter_fault, split

REDIS_PORT = 6379
REDIS_EXAMPLE = "redis://host:6379/0"
EMBEDDED_BROKER = "memory://"
"""`AMQP_URL` of the in-process broker (`make run`, tests of handlers)."""
_REDIS: Final = ("db", "username", "password")
_REDIS_TLS: Final = (*_REDIS, *REDIS_PARAMETERS, "ssl_cert_reqs", "ssl_check_hostname")
"""Parameters of a Redis URL, by redis-py's names. Of its others, some would replace limits that the gateway sets, or
change the type of answers."""
_VERIFICATIONS: Final = ("none", "optional", "required")
_DATABASE: Final = re.compile(r"[0-9]{1,5}").fullmatch
_SOCKET: Final = re.compile(r"unix://([^/?]*@)?/[^?]+(\?.*)?").fullmatch


def _url(schemes: tuple[str, ...], value: str, example: str) -> str:
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018  (raises for an invalid port)
    except ValueError:
        parts = urlsplit("")
    host = parts.hostname or ""
    if parts.scheme not in schemes or not is_host(host) or not (host or parts.scheme == "memory"):
        # Do not repeat the value, which may contain a password.
        raise ValueError(f"is not a URL like {example}")
    return value


def read_amqp_urls(value: Any) -> Any:
    """Parse the URLs of brokers, which are separated by `;`. Raises ValueError."""
    urls = [part.strip() for part in value.split(";") if part.strip()] if isinstance(value, str) else value
    if not urls:
        raise ValueError("contains no broker")
    if EMBEDDED_BROKER in urls and len(urls) > 1:
        raise ValueError(f"mixes {EMBEDDED_BROKER}, the in-process broker, with other brokers")
    for url in urls:
        _url(("amqp", "amqps", "memory"), url, "amqp://user:password@host:5672/vhost")
        if (fault := parameter_fault(url)) is not None:
            raise ValueError(fault)
    return tuple(urls)


def read_redis_url(value: Any) -> Any:
    """Parse the URL of Redis. Raises ValueError."""
    if is_sentinel(value):
        parse_sentinel_url(value)
        return value
    if value.startswith("unix:"):
        if not _SOCKET(value):
            raise ValueError("is not a URL like unix:///run/redis.sock")
    else:
        for part in _authority(value)[1].split(","):
            _url(("redis", "rediss"), _with_authority(value, part.strip()), REDIS_EXAMPLE)
    _check_redis_parameters(value)
    return value


def _check_redis_parameters(url: str) -> None:
    """Raise ValueError for a parameter or a database that redis-py would not use as it was meant."""
    bare, given = split(url)
    scheme, _, rest = bare.partition("://")
    check_parameters(scheme, given, _REDIS_TLS if scheme == "rediss" else _REDIS)
    if given.get("ssl_cert_reqs", "required") not in _VERIFICATIONS:
        raise ValueError("has ssl_cert_reqs=, which has to be none, optional or required")
    path = "" if scheme == "unix" else rest.partition("/")[2].removesuffix("/")
    if not all(map(_DATABASE, (path or "0", given.get("db", "0")))):
        raise ValueError(f"has to end with the number of a database, like {REDIS_EXAMPLE}")


def redis_hosts(url: str) -> tuple[tuple[str, int], ...]:
    """Return host and port of each server in a checked `REDIS_URL` without Sentinel; nothing for a Unix socket."""
    parts = [urlsplit(f"//{part.strip()}") for part in _authority(url)[1].split(",")]
    return tuple((part.hostname, part.port or REDIS_PORT) for part in parts if part.hostname)


def with_host(url: str, place: tuple[str, int]) -> str:
    """Return a checked `REDIS_URL` with only this server."""
    host, port = place
    credentials, _ = _authority(url)
    return _with_authority(url, f"{credentials}{f'[{host}]' if ':' in host else host}:{port}")


def redis_place(url: str) -> str:
    """Return where a checked `REDIS_URL` leads, for people: without user, password and parameters."""
    if is_sentinel(url):
        return parse_sentinel_url(url).place
    hosts = redis_hosts(url)
    return ", ".join(f"{host}:{port}" for host, port in hosts) if hosts else urlsplit(url).path


def _authority(url: str) -> tuple[str, str]:
    """Return the credentials of a URL, with the `@` behind them, and its hosts."""
    authority = url.partition("://")[2].partition("/")[0].partition("?")[0]
    credentials, at, hosts = authority.rpartition("@")
    return credentials + at, hosts


def _with_authority(url: str, authority: str) -> str:
    scheme, _, rest = url.partition("://")
    before, _, _ = rest.partition("/")[0].partition("?")
    return f"{scheme}://{authority}{rest[len(before) :]}"


def read_jwks_url(value: Any) -> Any:
    """Parse the URL of a JWK set. Raises ValueError."""
    url = _url(("http", "https"), value, "https://host/path")
    if urlsplit(url).username is not None:
        raise ValueError("contains a user or password, which would not be sent; a JWK set is public")
    return url
