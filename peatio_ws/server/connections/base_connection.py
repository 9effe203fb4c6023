"""What connections of both kinds share: their limits, the expiry of their tokens, and their end.

The worker's own count decides about a limit at once. The count over all workers (`cluster/local_state.py`) follows a
moment later. Knows no protocol.
"""

from __future__ import annotations

import abc
import functools
import time
from collections.abc import Sequence
from typing import ClassVar

from peatio_ws.auth.identity import Identity
from peatio_ws.close_codes import Close
from peatio_ws.cluster.local_state import ConnectionSlot
from peatio_ws.monitoring.counters import ConnectionStatus
from peatio_ws.server.context import WorkerContext
from peatio_ws.transport.websocket import WebSocket


class BaseConnection(abc.ABC):
    """A client's connection, from the upgrade to its end.

    Args:
        context: services shared by all connections of the worker.
        ws: an accepted WebSocket.
        address: of the client, for the log and for limits.

    Class attributes:
        handles_idle: whether an idle connection does without its greenlet; see `run`.
    """

    __slots__ = ("_slots", "address", "context", "ws")
    handles_idle: ClassVar[bool] = False

    def __init__(self, context: WorkerContext, ws: WebSocket, address: str) -> None:
        self.context, self.ws, self.address = context, ws, address
        self._slots: tuple[ConnectionSlot, ...] = ()

    @property
    @abc.abstractmethod
    def identity(self) -> Identity | None:
        """The identity of the last valid token; None while the client is anonymous."""

    @property
    @abc.abstractmethod
    def status(self) -> ConnectionStatus:
        """The connection's status, for the log and metrics."""

    @property
    @abc.abstractmethod
    def streams(self) -> Sequence[str]:
        """The streams that the client is subscribed to."""

    def run(self) -> bool:
        """Serve until either side closes, then release what the connection holds. Blocks this greenlet only.

        Returns:
            Whether the connection has ended. If it is idle instead, the event loop calls this method again.
        """
        ended = True
        try:
            ended = self._serve()
        finally:
            if ended:
                self._end()
        return ended

    def _end(self) -> None:
        self.release_slots()
        try:
            self._leave()
        finally:
            self.ws.end()

    @abc.abstractmethod
    def _serve(self) -> bool:
        """Serve until either side closes, or until the connection is idle. Failures become close codes here.

        Returns:
            Whether the connection has ended.
        """

    @abc.abstractmethod
    def _leave(self) -> None:
        """Stop receiving events. Never waits."""

    def is_expired(self) -> bool:
        """Return whether the client's token has expired, where expiry is enforced."""
        if not self.context.settings.jwt_enforce_expiry:
            return False
        identity = self.identity
        return identity is not None and time.time() >= identity.expires

    # ---- limits

    def claim_slot(self, name: str, limit: int, reason: str) -> bool:
        """Count the connection under a name until `release_slots`. Never waits.

        A connection over the limit is closed with 1013: here at once, across workers soon.

        Returns:
            Whether the connection counts; False if this worker has reached the limit.
        """
        shared = self.context.shared
        if shared.slot_counts[name] >= limit:
            self.ws.outbox.close(Close.FULL, reason)
            return False
        shared.slot_counts[name] += 1
        slot = ConnectionSlot(name, limit, functools.partial(self.ws.outbox.close, Close.FULL, reason))
        self._slots = (*self._slots, slot)
        shared.claim_slot(slot)
        return True

    def claim_member_slot(self, uid: str) -> bool:
        """Call `claim_slot` for the connections of a member, if they are limited. `identity` is the member's by now."""
        self.context.tracing.on_authenticated(self)
        limit = self.context.settings.max_per_member
        return not limit or self.claim_slot(f"member:{uid}", limit, "too many connections of this member")

    def release_slots(self) -> None:
        """Stop counting the connection. Idempotent. Never waits."""
        shared = self.context.shared
        slots, self._slots = self._slots, ()
        for slot in slots:
            shared.slot_counts[slot.name] -= 1
            if not shared.slot_counts[slot.name]:
                del shared.slot_counts[slot.name]
            shared.release_slot(slot)
