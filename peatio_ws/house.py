"""What all clients of a worker have in common."""

from __future__ import annotations

import time
from dataclasses import dataclass

import structlog

from peatio_ws import metrics
from peatio_ws.auth import Identity, Verifier
from peatio_ws.errors import AuthenticationError
from peatio_ws.handlers import Handlers
from peatio_ws.intake import Intake
from peatio_ws.router import Router
from peatio_ws.settings import Settings
from peatio_ws.shared import Shared

log = structlog.get_logger("peatio_ws.house")


@dataclass(frozen=True, slots=True)
class House:
    """Handed to each client; one a worker."""

    settings: Settings
    verifier: Verifier
    shared: Shared
    intake: Intake
    handlers: Handlers

    @property
    def router(self) -> Router:
        """Who gets what."""
        return self.intake.router


def verify(house: House, token: str, connection: str, address: str) -> Identity | None:
    """Whom a token stands for; None if it does not verify. Counted, and the reason logged, for this connection."""
    try:
        identity = house.verifier.verify(token, time.time())
    except AuthenticationError as error:
        metrics.authentications.labels("refused").inc()
        log.info("token refused", connection=connection, address=address, reason=str(error))
        return None
    metrics.authentications.labels("accepted").inc()
    return identity
