"""Host names that the resolver accepts."""

from __future__ import annotations

import socket

import pytest

from peatio_ws.config.host_names import is_host


@pytest.mark.parametrize("name", ["redis", "redis.default.svc.", "my_redis", "::1", "127.0.0.1", "é.example", "a" * 63])
def test_names_and_addresses(name: str) -> None:
    assert is_host(name)


@pytest.mark.parametrize("name", ["redis..svc", ".redis", "a" * 64, "redis." + "a" * 64, "p\udce9"])
def test_names_for_which_the_resolver_raises_another_error_than_oserror(name: str) -> None:
    assert not is_host(name)
    with pytest.raises(UnicodeError):
        socket.getaddrinfo(name, 6379)
