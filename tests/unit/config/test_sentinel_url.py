"""URLs of a Redis behind Sentinel."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.config.sentinel_url import EXAMPLE, is_sentinel, parse_sentinel_url
from peatio_ws.config.settings import Settings
from peatio_ws.config.urls import redis_place
from peatio_ws.errors import ConfigurationError
from tests.unit.config.faulty import faults
from tests.unit.samples import environment, settings

SECRET = "correcthorsebattery"


def test_example_of_the_documents() -> None:
    found = parse_sentinel_url(EXAMPLE)
    assert found.sentinels == (("sentinel-1", 26_379), ("sentinel-2", 26_379))
    assert (found.name, found.database, found.user, found.password) == ("mymaster", 0, "user", "password")
    assert not found.secure
    assert redis_place(EXAMPLE) == "mymaster of Sentinel at sentinel-1:26379, sentinel-2:26379"


def test_port_database_and_credentials_may_be_left_out() -> None:
    found = parse_sentinel_url(
        "rediss+sentinel://:p%40w@[::1]:1, b/m.1-x_Y?sentinel_password=a%26b&ssl_ca_certs=/ca.pem"
    )
    assert found.sentinels == (("::1", 1), ("b", 26_379))
    assert (found.name, found.database, found.user, found.password) == ("m.1-x_Y", 0, None, "p@w")
    assert found.secure
    assert found.parameters == {"sentinel_password": "a&b", "ssl_ca_certs": "/ca.pem"}


@given(user=st.text(min_size=1), password=st.text(min_size=1), number=st.integers(0, 99_999))
def test_credentials_are_unescaped(user: str, password: str, number: int) -> None:
    url = f"redis+sentinel://{quote(user, safe='')}:{quote(password, safe='')}@h/name/{number}"
    assert parse_sentinel_url(url)[2:5] == (number, user, password)
    assert settings(REDIS_URL=url).redis_url == url


FAULTY = [
    "",
    "/name",
    "h",
    "h/",
    "h//0",
    "h/a name",
    "h/name/x",
    "h/name/0/1",
    "h/name/-1",
    "h:x/name",
    "h:99999/name",
    ",/name",
    "h,,i/name",
    "[::1/name",
]


@pytest.mark.parametrize("rest", FAULTY)
def test_a_wrong_url_is_a_fault_that_does_not_show_it(rest: str) -> None:
    (line,) = faults(environment(REDIS_URL=f"redis+sentinel://u:{SECRET}@{rest}"))
    assert line == f"REDIS_URL is not a URL like {EXAMPLE}"


def test_unknown_parameter_is_a_fault() -> None:
    for query in ("password=x", "ssl_ca_certs=/ca.pem", "socket_timeout=1"):
        (line,) = faults(environment(REDIS_URL=f"redis+sentinel://h/name?{query}"))
        assert line.startswith(f"REDIS_URL has the parameter {query.partition('=')[0]}, which is unknown")


def test_certificate_files_are_added_with_tls_only() -> None:
    files = {"REDIS_CA_FILE": __file__}
    found = settings(REDIS_URL="rediss+sentinel://h/name", **files).redis_url
    assert parse_sentinel_url(str(found)).parameters == {"ssl_ca_certs": __file__}
    with pytest.raises(ConfigurationError, match="REDIS_URL does not use TLS"):
        Settings.from_env(environment(REDIS_URL="redis+sentinel://h/name", **files), at_start=True)


@pytest.mark.parametrize("url", ["redis://h/0", "rediss://h", "unix:///s", "", "redis+sentinels://h/n"])
def test_other_urls_are_not_of_sentinel(url: str) -> None:
    assert not is_sentinel(url)
