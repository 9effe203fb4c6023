"""Which client may subscribe to which stream, by name, role and limits."""

from __future__ import annotations

import pytest

from peatio_ws.auth.identity import Identity
from peatio_ws.protocol.stream_name_limit import ALWAYS_ALLOWED, StreamNameLimit
from peatio_ws.protocol.subscription_rules import Denial, SubscriptionRules

MEMBER = Identity("ANN", 1, "member", 100.0)
ADMIN = Identity("ADA", 2, "admin", 100.0)
RULES = SubscriptionRules({"ops": frozenset({"admin"})})


@pytest.mark.parametrize(
    ("name", "identity", "answer"),
    [
        ("btcusd.trades", None, "btcusd.trades"),
        ("btcusd.trades", MEMBER, "btcusd.trades"),
        ("order", None, Denial.ANONYMOUS),
        ("order", MEMBER, "order"),
        ("ops.btcusd.trades", None, Denial.FORBIDDEN),
        ("ops.btcusd.trades", MEMBER, Denial.FORBIDDEN),
        ("ops.btcusd.trades", ADMIN, "ops.btcusd.trades"),
        ("other.btcusd.trades", ADMIN, Denial.FORBIDDEN),
        ("", MEMBER, Denial.FORBIDDEN),
        ("a.b.c.d", ADMIN, Denial.FORBIDDEN),
        ("btcusd.*", ADMIN, Denial.FORBIDDEN),
    ],
)
def test_a_stream_is_checked_by_its_name_and_the_clients_role(
    name: str, identity: Identity | None, answer: str | Denial
) -> None:
    assert RULES.check(name, identity, 0) == answer


def test_new_name_needs_room_in_the_workers_limit() -> None:
    rules = SubscriptionRules(names=StreamNameLimit(lambda name: name == "btcusd.trades", lambda: 10, most=10))
    assert rules.check("btcusd.trades", None, ALWAYS_ALLOWED) == "btcusd.trades"
    assert rules.check("invented.trades", None, ALWAYS_ALLOWED) is Denial.NO_ROOM
    assert rules.check("invented.trades", None, ALWAYS_ALLOWED - 1) == "invented.trades"


def test_a_connection_has_a_limit_of_streams() -> None:
    rules = SubscriptionRules(most=3)
    assert rules.is_room(1, 2)
    assert not rules.is_room(1, 3)


def test_lower_role_forbids_a_stream() -> None:
    assert RULES.is_permitted("ops.btcusd.trades", ADMIN)
    assert not RULES.is_permitted("ops.btcusd.trades", MEMBER)
    assert RULES.is_permitted("btcusd.trades", None)
