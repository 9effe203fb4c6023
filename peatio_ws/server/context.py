"""Services shared by all connections of a worker."""

from __future__ import annotations

import time
from dataclasses import dataclass

import structlog

from peatio_ws.auth.identity import Identity
from peatio_ws.auth.jwks_refresh import JwksRefresh
from peatio_ws.auth.verifier import Verifier
from peatio_ws.cluster.local_state import SharedState, log_lockout
from peatio_ws.config.settings import Settings
from peatio_ws.errors import AuthenticationError, Delay, TokenFault, TryLater
from peatio_ws.monitoring import limits, metrics
from peatio_ws.monitoring.counters import Count, WorkerCounters
from peatio_ws.monitoring.limits import Limit
from peatio_ws.protocol.stream_name_limit import StreamNameLimit
from peatio_ws.protocol.subscription_rules import SubscriptionRules
from peatio_ws.routing.cursor import Cursors
from peatio_ws.routing.history import History
from peatio_ws.routing.replay import Replays
from peatio_ws.routing.router import Router
from peatio_ws.server.broker_sources import ClientInterest
from peatio_ws.server.connections.recent_ends import RecentEnds
from peatio_ws.server.ingest import BrokerIngest
from peatio_ws.server.routes import Handlers
from peatio_ws.server.tracing.tracing import Tracing
from peatio_ws.transport.http.client_address import rate_limit_key

log = structlog.get_logger("peatio_ws.server.context")


class Authenticator:
    """Verifies the tokens of clients, counts them, and logs why a token is refused.

    Args:
        keys: the published key set, if there is one.
        shared: knows revocations and addresses with too many failures.
        counters: of the worker.
        ends: gets the tokens that are refused.
    """

    def __init__(
        self,
        settings: Settings,
        verifier: Verifier,
        keys: JwksRefresh,
        shared: SharedState,
        counters: WorkerCounters,
        ends: RecentEnds,
    ) -> None:
        self._settings, self._verifier, self._keys, self._shared = settings, verifier, keys, shared
        self._counters, self._ends = counters, ends

    def verify(self, token: str, connection: str, address: str) -> Identity | None:
        """Return the identity of a token; None if the token is refused.

        Args:
            connection: its id, for the log.
            address: of the client, on which a failure counts unless the gateway may lack the key.

        Raises:
            TryLater: the key is not here yet.
        """
        now = time.time()
        try:
            identity = self._verifier.verify(token, now)
            if self._shared.revocations.is_revoked(identity, now):
                raise AuthenticationError("revoked by an operator", TokenFault.REVOKED, uid=identity.uid)
        except AuthenticationError as refused:
            fields = {"connection": connection, "address": address, "reason": refused.text}
            if refused.key_missing and (seconds := self._keys.retry_after()):
                later = TryLater(Delay.NO_KEY, seconds)
                self._count(later.label)
                limits.report(log, later, **fields, retry_after=seconds)
                self._ends.add_refused_token(connection, address, f"{later.text}: {refused.text}")
                raise later from None
            self._count(refused.label)
            whose = {"uid": refused.uid} if refused.uid else {}
            limits.report(log, refused, **fields, **whose)
            self._ends.add_refused_token(connection, address, refused.text)
            if not refused.key_missing:
                self._count_failure(address)
            return None
        self._count("accepted")
        return identity

    def check_address(self, address: str) -> None:
        """Raise TryLater if too many tokens from this address have failed."""
        key = self._lockout_key(address)
        seconds = self._shared.lockout.seconds_left(key, time.monotonic()) if key is not None else 0
        if seconds:
            later = TryLater(Delay.TOO_MANY_FAILURES, seconds)
            self._count(later.label)
            limits.reached(Limit.FAILED_TOKENS, address=address)
            raise later

    def _count(self, outcome: str) -> None:
        self._counters.count(metrics.authentications, outcome).value += 1

    def _count_failure(self, address: str) -> None:
        key = self._lockout_key(address)
        if key is not None and self._shared.lockout.add(key, time.monotonic()):
            log_lockout(key)

    def _lockout_key(self, address: str) -> str | None:
        """Return the key under which failed tokens from an address are counted; None if they are not counted."""
        if not self._settings.max_failures_per_address:
            return None
        return rate_limit_key(address, self._settings.trusted_proxies)


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """The services that each connection of a worker is given.

    Attributes:
        router, history, cursors, replays: deliver live and missed events.
        interest: what the broker sends the worker because clients need it.
        stream_names: the stream names that the worker has room for.
        frames: counts the text frames that connections put into their outboxes.
        tracing: receives what connections do, for operators that trace them.
    """

    settings: Settings
    authenticator: Authenticator
    shared: SharedState
    ingest: BrokerIngest
    router: Router
    history: History
    cursors: Cursors
    replays: Replays
    interest: ClientInterest
    stream_names: StreamNameLimit
    handlers: Handlers
    rules: SubscriptionRules
    frames: Count
    tracing: Tracing

    @classmethod
    def build(
        cls,
        settings: Settings,
        authenticator: Authenticator,
        shared: SharedState,
        ingest: BrokerIngest,
        handlers: Handlers,
        counters: WorkerCounters,
        tracing: Tracing,
    ) -> WorkerContext:
        """Collect the services of a worker."""
        return cls(
            settings=settings,
            authenticator=authenticator,
            shared=shared,
            ingest=ingest,
            router=ingest.router,
            history=ingest.history,
            cursors=ingest.cursors,
            replays=ingest.replays,
            interest=ingest.interest,
            stream_names=ingest.names,
            handlers=handlers,
            rules=SubscriptionRules(settings.roles, settings.max_streams, ingest.names),
            frames=counters.count(metrics.frames),
            tracing=tracing,
        )
