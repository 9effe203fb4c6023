"""URLs of brokers and key sets."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.config.settings import Settings
from peatio_ws.config.urls import redis_hosts, redis_place, with_host
from peatio_ws.errors import ConfigurationError
from tests.unit.samples import environment, settings


def faults(environ: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_env(environ, at_start=True)
    return [str(fault) for fault in caught.value.faults]


@given(user=st.text(min_size=1), password=st.text(min_size=1), vhost=st.text(min_size=1), port=st.integers(1, 65_535))
def test_parts_of_the_broker_are_escaped_in_its_url(user: str, password: str, vhost: str, port: int) -> None:
    parts = {"RABBITMQ_USER": user, "RABBITMQ_PASSWORD": password, "RABBITMQ_VHOST": vhost}
    found = settings(RABBITMQ_HOST="mq.example", RABBITMQ_PORT=str(port), **parts).amqp_urls
    assert len(found) == 1
    url = urlsplit(found[0])
    assert (url.scheme, url.hostname, url.port) == ("amqp", "mq.example", port)
    assert unquote(url.username or "") == (user if user.strip() else "guest")
    assert unquote(url.password or "") == (password if password.strip() else "guest")
    assert unquote(url.path[1:]) == (vhost if vhost.strip() else "/")


def test_amqp_url_takes_precedence_over_its_parts() -> None:
    assert settings(AMQP_URL="amqp://whole", RABBITMQ_HOST="part", RABBITMQ_PORT="x").amqp_urls == ("amqp://whole",)


SECRET = "correcthorsebattery"


@pytest.mark.parametrize("nothing", [";", " ; ;"])
def test_a_list_of_brokers_without_a_broker_is_a_fault(nothing: str) -> None:
    (line,) = faults(environment(AMQP_URL=nothing))
    assert line.startswith("AMQP_URL")


def test_a_broker_may_have_an_ipv6_address() -> None:
    (url,) = settings(RABBITMQ_HOST="::1").amqp_urls
    assert urlsplit(url).hostname == "::1"


@pytest.mark.parametrize(
    "url", ["keys.json", "file:///keys.json", "ftp://host/keys", "http://", "http://host:port/", f"http://u:{SECRET}@h"]
)
def test_key_set_needs_an_http_url(url: str) -> None:
    (line,) = faults(environment(JWT_JWKS_URL=url))
    assert line.startswith("JWT_JWKS_URL ")
    assert SECRET not in line


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("redis://h", (("h", 6379),)),
        ("redis://u:p@a:1, b,[::1]:2/3", (("a", 1), ("b", 6379), ("::1", 2))),
        ("rediss://a,b:7?ssl_ca_certs=/ca.pem", (("a", 6379), ("b", 7))),
        ("unix:///run/redis.sock", ()),
        ("unix://:p@/run/redis.sock?db=2", ()),
        ("redis://h/2/?username=u&password=p", (("h", 6379),)),
        ("rediss://h?db=3&ssl_cert_reqs=none&ssl_check_hostname=false", (("h", 6379),)),
    ],
)
def test_redis_may_be_several_servers(url: str, hosts: tuple[tuple[str, int], ...]) -> None:
    assert settings(REDIS_URL=url).redis_url == url
    assert redis_hosts(url) == hosts


def test_one_of_several_servers_keeps_everything_else_of_its_url() -> None:
    url = "rediss://u:p%40w@a:1,[::1]/3?ssl_ca_certs=/ca.pem"
    assert with_host(url, ("::1", 2)) == "rediss://u:p%40w@[::1]:2/3?ssl_ca_certs=/ca.pem"
    assert redis_place(url) == "a:1, ::1:6379"


@pytest.mark.parametrize(
    "hosts", ["a,", ",a", "a,,b", "a:x,b", "a,b:99999", f"u:{SECRET}@a,b:x", f"u:{SECRET}@", "a,b@c,"]
)
def test_each_of_several_servers_has_to_be_valid(hosts: str) -> None:
    (line,) = faults(environment(REDIS_URL=f"redis://{hosts}/0"))
    assert line.startswith("REDIS_URL is not a URL like redis://host:6379/0")
    assert SECRET not in line


@pytest.mark.parametrize(
    ("url", "parameter"),
    [
        ("redis://h/0?max_connections=50", "max_connections"),
        ("redis://h/0?db=1&socket_timeout=100", "socket_timeout"),
        ("redis://a,b/0?decode_responses=true", "decode_responses"),
        ("redis://h?ssl_cert_reqs=none", "ssl_cert_reqs"),
        ("rediss://h/0?ssl_cert_reqs=none&protocol=3", "protocol"),
        ("unix:///run/redis.sock?ssl_ca_certs=/ca.pem", "ssl_ca_certs"),
    ],
)
def test_unknown_parameter_of_redis_is_a_fault(url: str, parameter: str) -> None:
    """redis-py would raise TypeError for some, and prefer the value of others to the gateway's own."""
    (line,) = faults(environment(REDIS_URL=url))
    assert line.startswith(f"REDIS_URL has the parameter {parameter}, which is unknown; known for ")


@pytest.mark.parametrize("end", ["/x", "/0/cache", "/1a", "?db=x", "?db=", "/0?db=-1"])
def test_database_has_to_be_a_number(end: str) -> None:
    """redis-py would use database 0 for such a path."""
    (line,) = faults(environment(REDIS_URL=f"redis://:{SECRET}@h{end}"))
    assert line == "REDIS_URL has to end with the number of a database, like redis://host:6379/0"


@pytest.mark.parametrize("value", ["CERT_NONE", "None", "true", ""])
def test_verification_of_redis_is_one_of_three_words(value: str) -> None:
    (line,) = faults(environment(REDIS_URL=f"rediss://h/0?ssl_cert_reqs={value}"))
    assert line == "REDIS_URL has ssl_cert_reqs=, which has to be none, optional or required"
