"""URLs among the variables: of brokers, Redis and a set of keys. Errors never repeat a URL: it may hold a password.

Pure. Validators of `settings.py`; certificate files in a URL's query are `tls_files.py`'s.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from peatio_ws.config.tls_files import parameter_fault

EMBEDDED_BROKER = "memory://"
"""`AMQP_URL` of the in-process broker (`make run`, tests of handlers)."""


def _url(schemes: tuple[str, ...], value: str, example: str) -> str:
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018  (reading it raises on a port that is none)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in schemes or not (parts.hostname or parts.scheme in ("memory", "unix")):
        # The value may hold a password: it is not repeated.
        raise ValueError(f"is no URL of the kind {example}")
    return value


def read_amqp_urls(value: Any) -> Any:
    """Return the URLs of brokers, which `;` separates. ValueError otherwise."""
    urls = [part.strip() for part in value.split(";") if part.strip()] if isinstance(value, str) else value
    if not urls:
        raise ValueError("names no broker")
    if EMBEDDED_BROKER in urls and len(urls) > 1:
        raise ValueError(f"mixes {EMBEDDED_BROKER}, which is inside this process, with brokers that are not")
    for url in urls:
        _url(("amqp", "amqps", "memory"), url, "amqp://user:password@host:5672/vhost")
        if (fault := parameter_fault(url)) is not None:
            raise ValueError(fault)
    return tuple(urls)


def read_redis_url(value: Any) -> Any:
    """Return the URL of a Redis. ValueError otherwise."""
    return _url(("redis", "rediss", "unix"), value, "redis://host:6379/0")


def read_jwks_url(value: Any) -> Any:
    """Return the URL of a published set of keys. ValueError otherwise."""
    url = _url(("http", "https"), value, "https://host/path")
    if urlsplit(url).username is not None:
        raise ValueError("holds a user or a password, which are not sent; a set of keys is public")
    return url
