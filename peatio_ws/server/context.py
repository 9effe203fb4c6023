"""What all clients of a worker have in common."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import structlog

from peatio_ws.auth.identity import Identity
from peatio_ws.auth.jwks_refresh import JwksRefresh
from peatio_ws.auth.verifier import Verifier
from peatio_ws.cluster.local_state import SharedState, log_lockout
from peatio_ws.config.settings import Settings
from peatio_ws.errors import AuthenticationError, TryLater
from peatio_ws.monitoring import limits
from peatio_ws.monitoring.limits import Limit
from peatio_ws.protocol.subscription_rules import SubscriptionRules
from peatio_ws.routing.router import Router
from peatio_ws.server.ingest import BrokerIngest
from peatio_ws.server.routes import Handlers
from peatio_ws.transport.client_address import rate_limit_key

log = structlog.get_logger("peatio_ws.server.context")


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """Handed to each client; one a worker."""

    settings: Settings
    verifier: Verifier
    keys: JwksRefresh
    shared: SharedState
    ingest: BrokerIngest
    handlers: Handlers
    rules: SubscriptionRules

    @property
    def router(self) -> Router:
        """Who gets what."""
        return self.ingest.router


def verify_token(context: WorkerContext, token: str, connection: str, address: str) -> Identity | None:
    """Whom a token stands for; None if it does not verify, or is revoked. Counted, and the reason logged, for this
    connection.

    Raises:
        TryLater: its key is not there, which is not its fault.
    """
    now, shared = time.time(), context.shared
    counts = True
    try:
        identity = context.verifier.verify(token, now)
        outcome, reason = "accepted", ""
        if shared.revocations.refuse(identity, now):
            outcome, reason = "revoked", "revoked by an operator"
    except AuthenticationError as error:
        if error.key_missing and (seconds := context.keys.retry_after()):
            context.ingest.counters.authentications["postponed"] += 1
            text = {"connection": connection, "address": address, "reason": str(error)}
            limits.log_line(log, "token cannot be verified yet", **text, retry_after=seconds)
            raise TryLater(NO_KEY, seconds) from None
        outcome, reason, counts = "refused", str(error), not error.key_missing
    context.ingest.counters.authentications[outcome] += 1
    if outcome == "accepted":
        return identity
    limits.log_line(log, "token refused", connection=connection, address=address, reason=reason)
    whose = _lockout_key(context, address)
    if counts and whose is not None and shared.lockout.add(whose, time.monotonic()):
        log_lockout(whose)
    return None


NO_KEY: Final = "no key to verify this token with yet"
"""For the client."""


def lockout_seconds(context: WorkerContext, address: str) -> int:
    """For how long no token from this address is looked at, because too many failed; 0 if it is. Counted."""
    whose = _lockout_key(context, address)
    seconds = context.shared.lockout.seconds_left(whose, time.monotonic()) if whose is not None else 0
    if seconds:
        context.ingest.counters.authentications["limited"] += 1
        limits.reached(Limit.FAILED_TOKENS, address=address)
    return seconds


def _lockout_key(context: WorkerContext, address: str) -> str | None:
    """As whom failed tokens from an address are counted; None where they are not."""
    if not context.settings.max_failures_per_address:
        return None
    return rate_limit_key(address, context.settings.trusted_proxies)
