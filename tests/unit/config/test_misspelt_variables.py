"""Misspelt variables are reported with the correct name; those of other programs are not."""

from __future__ import annotations

import re

import pytest

from peatio_ws.config.misspelt_variables import KNOWN, near_misses
from tests.support.gateway import ROOT


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("WEBSOCKET_PROT", "WEBSOCKET_PORT"),
        ("WEBSOKET_PORT", "WEBSOCKET_PORT"),
        ("JWT_ALGORTHM", "JWT_ALGORITHM"),
        ("JTW_ALGORITHM", "JWT_ALGORITHM"),
        ("JWT_PUBLICKEY", "JWT_PUBLIC_KEY"),
        ("AMQP_ULR", "AMQP_URL"),
        ("AMPQ_URL", "AMQP_URL"),
        ("AMQP_EXCHANGE_DURABLE", "AMQP_EXCHANGES_DURABLE"),
        ("RABBITMQ_PASWORD", "RABBITMQ_PASSWORD"),
        ("RABITMQ_HOST", "RABBITMQ_HOST"),
        ("REDIS_URI", "REDIS_URL"),
        ("METRICS_PROT", "METRICS_PORT"),
        ("LOG_LEVLE", "LOG_LEVEL"),
        ("LOG_FROMAT", "LOG_FORMAT"),
        ("RANGER_PROT", "RANGER_PORT"),
        ("RANGO_RABC_ADMIN", "RANGO_RBAC_ADMIN"),
        ("TRUSTED_PROXYS", "TRUSTED_PROXIES"),
        ("API_CORS_ORIGIN", "API_CORS_ORIGINS"),
        ("WEB_CONCURENCY", "WEB_CONCURRENCY"),
        ("websocket_port", "WEBSOCKET_PORT"),
    ],
)
def test_misspelt_variable_is_reported_with_the_correct_name(name: str, meant: str) -> None:
    assert near_misses(["PATH", name]) == {name: meant}


OTHERS = """
    REDIS_SERVICE_HOST REDIS_SERVICE_PORT REDIS_SERVICE_PORT_REDIS REDIS_PORT REDIS_PORT_6379_TCP
    REDIS_PORT_6379_TCP_ADDR REDIS_PORT_6379_TCP_PORT REDIS_PORT_6379_TCP_PROTO
    RABBITMQ_SERVICE_HOST RABBITMQ_SERVICE_PORT RABBITMQ_PORT_5672_TCP RABBITMQ_PORT_5672_TCP_ADDR
    WEBSOCKET_SERVICE_HOST WEBSOCKET_SERVICE_PORT WEBSOCKET_PORT_8080_TCP WEBSOCKET_PORT_8080_TCP_ADDR
    METRICS_SERVICE_HOST METRICS_SERVICE_PORT METRICS_PORT_4242_TCP RANGO_SERVICE_HOST RANGER_SERVICE_PORT
    RABBITMQ_DEFAULT_USER RABBITMQ_DEFAULT_PASS RABBITMQ_DEFAULT_VHOST RABBITMQ_NODE_PORT RABBITMQ_NODENAME
    RABBITMQ_ERLANG_COOKIE RABBITMQ_CONFIG_FILE RABBITMQ_URL RABBITMQ_LOGS RABBITMQ_HOME RABBITMQ_VERSION
    REDIS_HOST REDIS_PASSWORD REDIS_DB REDIS_SSL REDIS_TLS REDIS_VERSION REDIS_DOWNLOAD_URL REDIS_CLUSTER
    AMQP_HOST AMQP_USER AMQP_PASSWORD AMQP_VHOST JWT_SECRET JWT_SECRET_KEY JWT_KEY JWT_EXPIRE_DATE
    LOG_FILE LOG_DIR LOG_PATH LOGNAME LOG_COLOR WEBSITE_PORT WEBSOCKET_URL API_HOST API_URL METRICS_PATH
    PORT HOST PATH HOME LANG DATABASE_URL DATABASE_HOST DATABASE_PORT SENTRY_DSN PEATIO_JWT_PUBLIC_KEY
""".split()


@pytest.mark.parametrize("name", OTHERS)
def test_variables_of_other_programs_are_not_reported(name: str) -> None:
    assert near_misses([name]) == {}


def test_variables_of_the_gateway_are_not_reported() -> None:
    assert near_misses([*KNOWN, "RANGO_RBAC_ADMIN", "RANGO_RBAC_X"]) == {}


def test_documented_variables_are_known() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| <a id=")]
    documented = {name for row in rows for name in re.findall(r"`([A-Z][A-Z0-9_]+)`", row)}
    assert len(documented) > 50
    assert documented <= KNOWN
