"""Validates the URLs of brokers, Redis and JWK sets. Errors never contain a URL, which may contain a password.

Pure. `settings.py` uses these validators; `tls_files.py` handles certificate files in a URL's query.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from peatio_ws.config.sentinel_url import is_sentinel, parse_sentinel_url
from peatio_ws.config.tls_files import parameter_fault

EMBEDDED_BROKER = "memory://"
"""`AMQP_URL` of the in-process broker (`make run`, tests of handlers)."""


def _url(schemes: tuple[str, ...], value: str, example: str) -> str:
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018  (raises for an invalid port)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in schemes or not (parts.hostname or parts.scheme in ("memory", "unix")):
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
    return _url(("redis", "rediss", "unix"), value, "redis://host:6379/0")


def redis_place(url: str) -> str:
    """Return where a checked `REDIS_URL` leads, for people: without user, password and parameters."""
    if is_sentinel(url):
        return parse_sentinel_url(url).place
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 6379}" if parts.hostname else parts.path


def read_jwks_url(value: Any) -> Any:
    """Parse the URL of a JWK set. Raises ValueError."""
    url = _url(("http", "https"), value, "https://host/path")
    if urlsplit(url).username is not None:
        raise ValueError("contains a user or password, which would not be sent; a JWK set is public")
    return url
