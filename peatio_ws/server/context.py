"""What all clients of a worker have in common."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import structlog

from peatio_ws.auth.identity import Identity
from peatio_ws.auth.jwks_refresh import KeySource
from peatio_ws.auth.verifier import Verifier
from peatio_ws.cluster.local_state import Shared, tell_limited
from peatio_ws.config.settings import Settings
from peatio_ws.errors import AuthenticationError, TryLater
from peatio_ws.monitoring import limits
from peatio_ws.monitoring.limits import Limit
from peatio_ws.protocol.subscription_rules import SubscriptionRules
from peatio_ws.routing.router import Router
from peatio_ws.server.ingest import Intake
from peatio_ws.server.routes import Handlers
from peatio_ws.transport.client_address import rate_limit_key

log = structlog.get_logger("peatio_ws.server.context")


@dataclass(frozen=True, slots=True)
class House:
    """Handed to each client; one a worker."""

    settings: Settings
    verifier: Verifier
    keys: KeySource
    shared: Shared
    intake: Intake
    handlers: Handlers
    rules: SubscriptionRules

    @property
    def router(self) -> Router:
        """Who gets what."""
        return self.intake.router


def verify(house: House, token: str, connection: str, address: str) -> Identity | None:
    """Whom a token stands for; None if it does not verify, or is revoked. Counted, and the reason logged, for this
    connection.

    Raises:
        TryLater: its key is not there, which is not its fault.
    """
    now, shared = time.time(), house.shared
    counts = True
    try:
        identity = house.verifier.verify(token, now)
        outcome, reason = "accepted", ""
        if shared.revocations.refuse(identity, now):
            outcome, reason = "revoked", "revoked by an operator"
    except AuthenticationError as error:
        if error.key_missing and (seconds := house.keys.seconds_to_wait()):
            house.intake.tally.authentications["postponed"] += 1
            text = {"connection": connection, "address": address, "reason": str(error)}
            limits.tell(log, "token cannot be verified yet", **text, retry_after=seconds)
            raise TryLater(NO_KEY, seconds) from None
        outcome, reason, counts = "refused", str(error), not error.key_missing
    house.intake.tally.authentications[outcome] += 1
    if outcome == "accepted":
        return identity
    limits.tell(log, "token refused", connection=connection, address=address, reason=reason)
    whose = _whose(house, address)
    if counts and whose is not None and shared.failures.add(whose, time.monotonic()):
        tell_limited(whose)
    return None


NO_KEY: Final = "no key to verify this token with yet"
"""For the client."""


def seconds_to_wait(house: House, address: str) -> int:
    """For how long no token from this address is looked at, because too many failed; 0 if it is. Counted."""
    whose = _whose(house, address)
    seconds = house.shared.failures.wait(whose, time.monotonic()) if whose is not None else 0
    if seconds:
        house.intake.tally.authentications["limited"] += 1
        limits.reached(Limit.FAILED_TOKENS, address=address)
    return seconds


def _whose(house: House, address: str) -> str | None:
    """As whom failed tokens from an address are counted; None where they are not."""
    if not house.settings.max_failures_per_address:
        return None
    return rate_limit_key(address, house.settings.trusted_proxies)
