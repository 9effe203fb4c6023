"""Values that the settings refuse, with the expected fault."""

from __future__ import annotations

import pytest

from peatio_ws.config.settings import Settings
from peatio_ws.errors import ConfigurationError

FAULTY = {
    "WEBSOCKET_PORT": ["http", "65536", "-1", "80.5"],
    "WEB_CONCURRENCY": ["0", "many", "-1"],
    "AMQP_URL": ["localhost", "http://a", "amqp://", "amqp://a:port/", "amqp://a;http://b", "amqp://a..b/"],
    "RABBITMQ_HOST": ["a b", "a..b", "a" * 64],
    "RABBITMQ_PORT": ["x", "0", "65536", "-1", "٣", "9" * 5000],
    "AMQP_EXCHANGES_DURABLE": ["perhaps"],
    "REDIS_URL": [
        "localhost:6379",
        "http://a",
        "redis://",
        "redis://a:port",
        "redis://a,b..c",
        "redis+sentinel://a..b/name",
        "unix:",
        "unix:/a.sock",
        "unix://a/b.sock",
    ],
    "ORDERBOOK_BROADCAST": ["2"],
    "JWT_ALGORITHM": ["none", "HS512", "rs256", "RS257"],
    "JWT_PUBLIC_KEY": ["x", "-----BEGIN PUBLIC KEY-----"],
    "JWT_PUBLIC_KEYS": ["x"],
    "JWT_EXPIRATION_LEEWAY": ["-1", "nan", "inf", "a minute"],
    "JWT_NOT_BEFORE_LEEWAY": ["-1"],
    "JWT_ISSUED_AT_LEEWAY": ["-1"],
    "JWT_ENFORCE_EXPIRY": ["maybe"],
    "API_CORS_ORIGINS": ["https://*", "app-*.example", "https://a.example, *a.example"],
    "TRUSTED_PROXIES": ["proxy.example", "10.0.0.0/33", "10.0.0.1,?"],
    "TRUSTED_PROXIES_HEADER": ["X-Real-IP"],
    "WEBSOCKET_PROXY_PROTOCOL": ["v2"],
    "WEBSOCKET_SSL_KEY": ["there/is/no/such/file"],
    "WEBSOCKET_SSL_CERT": ["there/is/no/such/file"],
    "WEBSOCKET_MAX_MESSAGE_BYTES": ["0", "much"],
    "WEBSOCKET_OUTBOX_BYTES": ["0", "much"],
    "WEBSOCKET_AUTH_TIMEOUT": ["0", "-1", "nan", "inf"],
    "WEBSOCKET_PING_TIMEOUT": ["0"],
    "WEBSOCKET_SEND_TIMEOUT": ["0"],
    "LOG_LEVEL": ["loud"],
    "LOG_FORMAT": ["xml"],
    "METRICS_PORT": ["65536"],
}


def faults(environ: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_env(environ, at_start=True)
    return [str(fault) for fault in caught.value.faults]
