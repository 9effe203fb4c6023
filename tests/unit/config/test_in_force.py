"""The settings that are in force: values, sources, and hidden secrets."""

from __future__ import annotations

import pytest

from peatio_ws.config.in_force import in_force, without_secrets
from peatio_ws.config.settings import Settings
from tests.unit.samples import environment


def rows(**environ: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    environ = environment(**environ)
    return {one.variable: (one.value, one.sources) for one in in_force(Settings.from_env(environ), environ)}


def test_values_have_the_variable_that_was_read() -> None:
    found = rows(RANGER_PORT="9000", WEBSOCKET_COMPRESSION="no", JWT_DEFAULT_LEEWAY="2.5", REDIS_URL=" ")
    assert found["WEBSOCKET_PORT"] == ("9000", ("RANGER_PORT",))
    assert found["WEBSOCKET_COMPRESSION"] == ("false", ("WEBSOCKET_COMPRESSION",))
    assert found["JWT_EXPIRATION_LEEWAY"] == ("2.5", ("JWT_DEFAULT_LEEWAY",))
    assert found["METRICS_PORT"] == ("4242", ())
    assert found["REDIS_URL"] == ("", ())


def test_lists_are_shown_as_they_are_written() -> None:
    found = rows(
        TRUSTED_PROXIES="10.0.0.0/8, 192.0.2.7", RANGO_RBAC_ADMIN="superadmin,admin", AMQP_URL="amqp://a;amqp://b"
    )
    assert found["TRUSTED_PROXIES"][0] == "10.0.0.0/8,192.0.2.7/32"
    assert found["RANGO_RBAC_ADMIN"] == ("admin,superadmin", ("RANGO_RBAC_ADMIN",))
    assert found["AMQP_URL"][0] == "amqp://a;amqp://b"


def test_the_url_of_the_broker_may_have_several_sources() -> None:
    found = rows(RABBITMQ_HOST="mq", RABBITMQ_PASSWORD="secret")
    assert found["AMQP_URL"] == ("amqp://guest:***@mq:5672/%2F", ("RABBITMQ_HOST", "RABBITMQ_PASSWORD"))
    assert rows()["AMQP_URL"] == ("amqp://guest:***@localhost:5672/%2F", ())


def test_keys_are_described_and_not_shown() -> None:
    key = environment()["JWT_PUBLIC_KEY"]
    found = rows(JWT_PUBLIC_KEYS=f"{key},{key}")
    assert found["JWT_PUBLIC_KEY"][0].startswith("an RSA key of ")
    assert found["JWT_PUBLIC_KEYS"][0].count("an RSA key of ") == 2
    secret = rows(JWT_ALGORITHM="HS256", JWT_PUBLIC_KEY="s" * 40)
    assert secret["JWT_PUBLIC_KEY"] == ("a shared secret of 40 bytes", ("JWT_PUBLIC_KEY",))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@host:6379/0", "redis://:***@host:6379/0"),
        ("redis://user:sec:r@et@host/0", "redis://user:***@host/0"),
        ("redis://host/0?password=secret&db=1", "redis://host/0?password=***&db=1"),
        ("https://host/keys?access_token=secret", "https://host/keys?access_token=***"),
        ("amqps://user@host/v?cacertfile=/etc/ca.pem", "amqps://user@host/v?cacertfile=/etc/ca.pem"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        (
            "redis+sentinel://u:secret@h,i:1/n/0?sentinel_password=pw",
            "redis+sentinel://u:***@h,i:1/n/0?sentinel_password=***",
        ),
        ("redis+sentinel://u:secret@[::1]:1,[::2]:2/n", "redis+sentinel://u:***@[::1]:1,[::2]:2/n"),
        ("amqp://user:12/secret@host/v", "amqp://user:***@host/v"),
        ("redis://user:12#secret@host", "redis://user:***@host"),
        ("amqp://user:sec\tret@host/v", "amqp://user:***@host/v"),
        ("redis://host/0?p%61ssword=secret", "redis://host/0?p%61ssword=***"),
        ("https://host/keys?apikey=secret&sig=a=b&secret", "https://host/keys?apikey=***&sig=***&***"),
        ("memory://", "memory://"),
        ("not a URL", "not a URL"),
    ],
)
def test_secrets_of_urls_are_hidden(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


def test_admin_token_is_hidden() -> None:
    token = "0123456789abcdef0123456789abcdef"
    value, sources = rows(ADMIN_TOKEN=token)["ADMIN_TOKEN"]
    assert (set(value), sources) == ({"*"}, ("ADMIN_TOKEN",))
