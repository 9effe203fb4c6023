"""Tokens are verified, and failures count towards the lockout of an address."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
from structlog.testing import capture_logs

from peatio_ws.auth.jwks import KeyRing, NamedKey
from peatio_ws.auth.jwks_refresh import JwksRefresh
from peatio_ws.auth.keys import load_public_key, public_text
from peatio_ws.auth.lockout import Lockout
from peatio_ws.auth.revocations import Revocation, Revocations
from peatio_ws.auth.verifier import Verifier
from peatio_ws.cluster.local_state import SharedState
from peatio_ws.config.settings import Settings
from peatio_ws.errors import TryLater
from peatio_ws.monitoring import metrics
from peatio_ws.monitoring.counters import WorkerCounters
from peatio_ws.server.connections.recent_ends import RecentEnds
from peatio_ws.server.context import Authenticator
from tests.unit.samples import claims, private_key, sign

HERE = "203.0.113.7"
LIMIT = 3
SET = {"JWT_JWKS_URL": "http://issuer"}
KEY = {"JWT_PUBLIC_KEY": public_text(private_key())}


def authenticator(**environ: str) -> Authenticator:
    settings = Settings.from_env({"WEBSOCKET_MAX_FAILURES_PER_ADDRESS": str(LIMIT), **environ})
    shared = SharedState(Revocations(), Lockout(settings.max_failures_per_address))
    verifier = Verifier(settings.token_rules)
    keys = JwksRefresh(settings.token_rules, verifier)
    return Authenticator(settings, verifier, keys, shared, WorkerCounters(), RecentEnds())


def is_locked_after(at: Authenticator, *tokens: str, address: str = HERE) -> bool:
    """Present each token as often as the limit allows. Return whether the address is then locked out."""
    for token in tokens:
        for _ in range(LIMIT):
            with contextlib.suppress(TryLater):
                assert at.verify(token, "c1", address) is None
    return is_locked(at, address)


def is_locked(at: Authenticator, address: str) -> bool:
    try:
        at.check_address(address)
    except TryLater as later:
        return later.seconds > 0
    return False


def token_of(number: int = 0, **header: Any) -> str:
    """Return a token that is valid except for its time, if its key is known."""
    return sign(claims(), key=private_key(number=number), **header)


def publish(at: Authenticator, kid: str, number: int) -> None:
    key = load_public_key(public_text(private_key(number=number)), "RS256")
    at._verifier.ring = KeyRing(at._verifier.ring.fixed, [NamedKey(kid, key)])


def test_invalid_tokens_are_counted() -> None:
    assert is_locked_after(authenticator(**KEY), token_of(1))
    assert is_locked_after(authenticator(**KEY), token_of()), "expired"
    assert is_locked_after(authenticator(**KEY), "nonsense")


def test_log_of_a_refused_token_has_the_uid_if_the_signature_verifies() -> None:
    at = authenticator(**KEY)
    now = time.time()
    revoked = sign({**claims(uid="ID2"), "iat": now, "exp": now + 60})
    at._shared.revocations.add(Revocation("ID2", now + 60, issued=now + 1), now)
    with capture_logs() as lines:
        for token in (token_of(), token_of(1), revoked, "nonsense"):
            assert at.verify(token, "c1", HERE) is None
    refused = [
        (line["reason"].partition(" ")[0], line.get("uid")) for line in lines if line["event"] == "token refused"
    ]
    assert refused == [("expired", "ID1"), ("signature", None), ("revoked", "ID2"), ("malformed", None)]


@pytest.mark.parametrize("fixed", [{}, KEY])
def test_gateway_without_keys_counts_no_failures(fixed: dict[str, str]) -> None:
    at = authenticator(**SET, **fixed)
    assert not is_locked_after(at, token_of(1, kid="a"), token_of(1))
    publish(at, "a", 2)
    assert is_locked_after(at, token_of(1, kid="a"))


@pytest.mark.parametrize("fixed", [{}, KEY])
def test_token_with_a_missing_key_may_be_retried(fixed: dict[str, str]) -> None:
    at = authenticator(**SET, **fixed)
    for token in (token_of(1, kid="a"), token_of(1)):
        with pytest.raises(TryLater) as later:
            at.verify(token, "c1", HERE)
        assert later.value.seconds >= 1
    assert at._counters.count(metrics.authentications, "postponed").value == 2
    publish(at, "a", 2)
    with pytest.raises(TryLater):
        at.verify(token_of(1, kid="b"), "c1", HERE)
    assert at.verify(token_of(1, kid="a"), "c1", HERE) is None, "a token that the named key did not sign is refused"


@pytest.mark.parametrize("fixed", [{}, KEY])
def test_token_of_an_unknown_key_is_not_a_failure(fixed: dict[str, str]) -> None:
    at = authenticator(**SET, **fixed)
    publish(at, "a", 2)
    assert not is_locked_after(at, token_of(1, kid="b"))
    assert is_locked_after(at, token_of(1))


@pytest.mark.parametrize(
    ("trusted", "address", "counts"),
    [
        ("", "", False),  # a Unix socket
        ("10.0.0.0/8", "", False),
        ("10.0.0.0/8", "10.0.0.2", False),  # a proxy that did not pass on the client's address
        ("10.0.0.0/8", HERE, True),
        ("", "10.0.0.2", True),
    ],
)
def test_only_addresses_that_identify_a_client_are_locked(trusted: str, address: str, counts: bool) -> None:
    assert is_locked_after(authenticator(**KEY, TRUSTED_PROXIES=trusted), "nonsense", address=address) is counts


@pytest.mark.parametrize(
    ("address", "other", "together"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:DB8:0:0:1::", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:203.0.113.7", "203.0.113.7", True),
        ("::ffff:203.0.113.7", "::ffff:203.0.113.8", False),
        ("203.0.113.7", "203.0.113.8", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("a name", "another", False),
    ],
)
def test_ipv6_network_counts_as_one_client(address: str, other: str, together: bool) -> None:
    at = authenticator(**KEY)
    assert is_locked_after(at, "nonsense", address=address)
    assert is_locked(at, other) is together


def test_ipv4_mapped_address_of_a_proxy_is_recognized() -> None:
    assert not is_locked_after(
        authenticator(**KEY, TRUSTED_PROXIES="10.0.0.0/8"), "nonsense", address="::ffff:10.0.0.2"
    )
