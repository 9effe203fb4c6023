"""What `check` says about several servers in `REDIS_URL`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from peatio_ws.cli.check.redis_hosts_check import servers
from tests.support.small_redis import FORBIDDEN, PRIMARY, REPLICA, SmallRedis


@pytest.fixture
def found() -> Iterator[Callable[..., list[tuple[bool | None, str]]]]:
    """Check servers with these roles; None is one that is down. Texts name them a, b, and so on."""
    started = list[SmallRedis]()

    def check(*roles: bytes | None) -> list[tuple[bool | None, str]]:
        names = {}
        for name, role in zip("abc", roles, strict=False):
            server = SmallRedis(name, role or PRIMARY)
            names[f"127.0.0.1:{server.port}"] = name
            if role is None:
                server.close()
            else:
                started.append(server)
        lines = list(servers(f"redis://{','.join(names)}/0", 5))
        told = []
        for line in lines:
            text = f"{line.text} -> {line.remedy}" if line.remedy else line.text
            for place, name in names.items():
                text = text.replace(place, name)
            told.append((line.ok, text))
        return told

    yield check
    for server in started:
        server.close()


Check = Callable[..., list[tuple[bool | None, str]]]


def test_a_primary_and_its_replica_are_well(found: Check) -> None:
    assert found(PRIMARY, REPLICA) == [(True, "a: is a primary"), (True, "b: is a replica")]


def test_several_primaries_are_a_fault(found: Check) -> None:
    ok, text = found(PRIMARY, PRIMARY)[-1]
    assert ok is False
    assert text.startswith("several servers are primaries: a, b; the gateways use the first -> make the others")


def test_no_primary_is_a_fault(found: Check) -> None:
    ok, text = found(REPLICA, REPLICA)[-1]
    assert ok is False
    assert text.startswith("none of the servers is known to be a primary -> promote one")


def test_a_server_that_is_down_is_named(found: Check) -> None:
    lines = found(None, PRIMARY)
    assert [ok for ok, _ in lines] == [False, True]
    assert lines[0][1].startswith("a: ")


def test_a_user_that_may_not_ask_is_no_fault_of_the_server(found: Check) -> None:
    lines = found(FORBIDDEN, PRIMARY)
    assert lines[0] == (None, "a: the user may not ask whether it is the primary (ROLE)")
    assert len(lines) == 2
