"""The types of settings that several variables share, or that need more than a range: how a text becomes a value.

Each says what is wrong with a text; pydantic adds the variable's name. `settings.py` uses them. Knows no variable.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, SecretStr

from peatio_ws.config import allowed_origins, trusted_proxies
from peatio_ws.config.urls import read_amqp_urls, read_jwks_url, read_redis_url
from peatio_ws.config.validation_errors import shown
from peatio_ws.config.variables import comma_list


def _networks(value: Any) -> Any:
    networks = []
    for part in comma_list(value):
        try:
            networks.append(trusted_proxies.network(part))
        except ValueError:
            raise ValueError(f"contains {shown(part)}, which is not a network like 10.0.0.0/8 or an address") from None
    return tuple(networks)


def _origins(value: Any) -> Any:
    origins = comma_list(value)
    for one in origins:
        if (fault := allowed_origins.fault_of(one)) is not None:
            raise ValueError(f"contains {shown(one)}, {fault}")
    return origins


def _readable(value: Any) -> Any:
    try:
        with open(value, "rb"):
            return Path(value)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}: {shown(value)}") from None


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


_LEVELS: Final = {"warn": "warning", "trace": "debug", "fatal": "error", "panic": "error"}
"""Names of levels in Ranger and Rango, and the nearest level here."""


def _level(value: Any) -> Any:
    return _LEVELS.get(_lower(value), _lower(value))


def _admin_token(value: Any) -> Any:
    if len(value) < 32 or not value.isascii() or not value.isprintable() or " " in value:
        # Do not repeat the value.
        text = "has to be at least 32 ASCII characters without spaces; `openssl rand -hex 32` makes one"
        raise ValueError(text)
    return value


CommaList = Annotated[tuple[str, ...], BeforeValidator(comma_list)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Leeway = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=10_000_000)]
Port = Annotated[int, Field(ge=0, le=65_535)]
ReadableFile = Annotated[Path, BeforeValidator(_readable)]

BrokerUrls = Annotated[tuple[str, ...], BeforeValidator(read_amqp_urls)]
RedisUrl = Annotated[str, BeforeValidator(read_redis_url)]
JwksUrl = Annotated[str, BeforeValidator(read_jwks_url)]
Origins = Annotated[tuple[str, ...], BeforeValidator(_origins)]
Networks = Annotated[tuple[trusted_proxies.Network, ...], BeforeValidator(_networks)]
ProxyHeader = Annotated[trusted_proxies.Header, BeforeValidator(_lower)]
History = Annotated[Literal["stream", "worker", "off"], BeforeValidator(_lower)]
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_level)]
LogFormat = Annotated[Literal["text", "json"], BeforeValidator(_lower)]
AdminToken = Annotated[SecretStr, BeforeValidator(_admin_token)]
