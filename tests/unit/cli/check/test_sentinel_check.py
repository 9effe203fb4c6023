"""What `check` says of a Sentinel's answer. Real Sentinels are in `tests/faults/test_redis_failover.py`."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from peatio_ws.cli.check import sentinel_check
from peatio_ws.config.sentinel_url import parse_sentinel_url

HEALTHY = {
    "ip": "10.0.0.1",
    "port": 6379,
    "num-slaves": 1,
    "num-other-sentinels": 2,
    "quorum": 2,
    "is_sdown": False,
    "is_odown": False,
}


def test_healthy_primary() -> None:
    found = sentinel_check.finding("a:1", "name", {"name": HEALTHY})
    assert found.ok
    assert "name is at 10.0.0.1:6379, with 1 replicas and 2 other Sentinels" in found.text


@pytest.mark.parametrize(
    ("changes", "text", "remedy"),
    [
        ({"is_sdown": True}, "it is down", "wait for the failover"),
        ({"is_odown": True}, "it is down", "wait for the failover"),
        ({"num-slaves": 0}, "with 0 replicas", "add one"),
        ({"num-other-sentinels": 0}, "the quorum is 2", "start more Sentinels"),
    ],
)
def test_what_prevents_a_failover(changes: dict[str, Any], text: str, remedy: str) -> None:
    found = sentinel_check.finding("a:1", "name", {"name": {**HEALTHY, **changes}})
    assert found.ok is False
    assert text in found.text
    assert remedy in found.remedy


@pytest.mark.parametrize(("known", "names"), [({}, "none"), ({"b": HEALTHY, "a": HEALTHY}, "a, b")])
def test_unknown_name_is_told_with_the_known_ones(known: dict[str, Any], names: str) -> None:
    found = sentinel_check.finding("a:1", "name", known)
    assert found.ok is False
    assert found.remedy.endswith(f"it knows {names}")


class Stub:
    """A Sentinel that answers with this, or raises it."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def sentinel_masters(self) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def close(self) -> None: ...


def test_sentinels_that_disagree_and_one_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        "a": {"name": HEALTHY},
        "b": {"name": {**HEALTHY, "ip": "10.0.0.2"}},
        "c": redis.AuthenticationError("Authentication required."),
    }
    monkeypatch.setattr(sentinel_check, "open_sentinel", lambda _url, place, _seconds: Stub(answers[place[0]]))
    found = list(sentinel_check.sentinels(parse_sentinel_url("redis+sentinel://a,b,c/name"), 1.0))
    assert [one.ok for one in found] == [True, True, False, False]
    assert "refuses the login" in found[2].text
    assert "sentinel_password" in found[2].remedy
    assert "10.0.0.1:6379, 10.0.0.2:6379" in found[3].text
