"""A connection that counts: towards the limit of its member, of its address, of whatever has one.

Its worker's count decides at once, that of all workers (`local_state.py`) a moment later.
"""

from __future__ import annotations

import functools

from peatio_ws.close_codes import Close
from peatio_ws.cluster.local_state import Seat
from peatio_ws.server.context import House
from peatio_ws.transport.websocket import WebSocket


class Seated:
    """What connections of both kinds have in common.

    Args:
        house: what it shares with the others.
        ws: accepted already.
        address: where it comes from, for the log and for limits.
    """

    __slots__ = ("_house", "_seats", "address", "ws")

    def __init__(self, house: House, ws: WebSocket, address: str) -> None:
        self._house, self.ws, self.address = house, ws, address
        self._seats: tuple[Seat, ...] = ()

    def sit(self, name: str, limit: int, reason: str) -> bool:
        """Count it under this name until `stand_up`. If it is one too many, it is closed with 1013: here at once, and
        across workers soon. Never waits.

        Returns:
            Whether it counts; False if there were as many at this worker.
        """
        shared = self._house.shared
        if shared.seated[name] >= limit:
            self.ws.outbox.close(Close.FULL, reason)
            return False
        shared.seated[name] += 1
        seat = Seat(name, limit, functools.partial(self.ws.outbox.close, Close.FULL, reason))
        self._seats = (*self._seats, seat)
        shared.take_seat(seat)
        return True

    def sit_as(self, uid: str) -> bool:
        """`sit` as one of a member's connections, if there is a limit for them."""
        limit = self._house.settings.max_per_member
        return not limit or self.sit(f"member:{uid}", limit, "too many connections of this member")

    def stand_up(self) -> None:
        """It counts no more. Never waits."""
        shared = self._house.shared
        seats, self._seats = self._seats, ()
        for seat in seats:
            shared.seated[seat.name] -= 1
            if not shared.seated[seat.name]:
                del shared.seated[seat.name]
            shared.leave_seat(seat)
