"""A connection that counts: towards the limit of its member, of its address, of whatever has one.

Its worker's count decides at once, that of all workers (`local_state.py`) a moment later.
"""

from __future__ import annotations

import functools

from peatio_ws.close_codes import Close
from peatio_ws.cluster.local_state import ConnectionSlot
from peatio_ws.server.context import WorkerContext
from peatio_ws.transport.websocket import WebSocket


class LimitedConnection:
    """What connections of both kinds have in common.

    Args:
        context: what it shares with the others.
        ws: accepted already.
        address: where it comes from, for the log and for limits.
    """

    __slots__ = ("_context", "_slots", "address", "ws")

    def __init__(self, context: WorkerContext, ws: WebSocket, address: str) -> None:
        self._context, self.ws, self.address = context, ws, address
        self._slots: tuple[ConnectionSlot, ...] = ()

    def claim_slot(self, name: str, limit: int, reason: str) -> bool:
        """Count it under this name until `release_slots`. If it is one too many, it is closed with 1013: here at once,
        and across workers soon. Never waits.

        Returns:
            Whether it counts; False if there were as many at this worker.
        """
        shared = self._context.shared
        if shared.slot_counts[name] >= limit:
            self.ws.outbox.close(Close.FULL, reason)
            return False
        shared.slot_counts[name] += 1
        slot = ConnectionSlot(name, limit, functools.partial(self.ws.outbox.close, Close.FULL, reason))
        self._slots = (*self._slots, slot)
        shared.claim_slot(slot)
        return True

    def claim_member_slot(self, uid: str) -> bool:
        """`claim_slot` as one of a member's connections, if there is a limit for them."""
        limit = self._context.settings.max_per_member
        return not limit or self.claim_slot(f"member:{uid}", limit, "too many connections of this member")

    def release_slots(self) -> None:
        """It counts no more. Never waits."""
        shared = self._context.shared
        slots, self._slots = self._slots, ()
        for slot in slots:
            shared.slot_counts[slot.name] -= 1
            if not shared.slot_counts[slot.name]:
                del shared.slot_counts[slot.name]
            shared.release_slot(slot)
