"""What an operator's commands do to the clients of this worker."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Final

import gevent
import structlog

from peatio_ws.auth.revocations import Revocations
from peatio_ws.close_codes import Close
from peatio_ws.cluster.commands import Answer, Command, Connection, Disconnect, Drain, Notice, Place, Who
from peatio_ws.protocol import encoding
from peatio_ws.routing.router import BUSY_SECONDS
from peatio_ws.server.registry import Connected, Roster

log = structlog.get_logger("peatio_ws.server.commands")

PIECE: Final = 500
"""Connections in an answer."""


class Control:
    """The clients of a worker, to be steered.

    Args:
        place: where this worker is.
        roster: all of them.
        revocations: what is revoked is added.
    """

    def __init__(self, place: Place, roster: Roster, revocations: Revocations) -> None:
        self._place, self._roster, self._revocations = place, roster, revocations

    def carry_out(self, command: Command) -> Iterator[Answer]:
        """Do it, and say what was done."""
        match command:
            case Who(uid=uid):
                yield from self._tell_who(uid)
            case Disconnect():
                yield Answer(self._place, self._disconnect(command))
            case Notice(text=text, uid=uid):
                yield Answer(self._place, self._tell(encoding.notice(text), uid))
            case Drain(where=where, undo=undo):
                yield self._drain(where, undo)

    def close_revoked(self) -> int:
        """Close the connections whose token is revoked by now; how many there were."""
        now = time.time()
        return _close(
            client
            for client in self._roster
            if client.identity is not None and self._revocations.refuse(client.identity, now)
        )

    def _disconnect(self, command: Disconnect) -> int:
        if command.revoked is not None:
            self._revocations.add(command.revoked, time.time())
        closed = _close(client for client in self._roster if command.concerns(client.identity))
        log.info("a member is disconnected", uid=command.uid, closed=closed, revoked=command.revoked is not None)
        return closed

    def _tell_who(self, uid: str | None) -> Iterator[Answer]:
        clients = [client for client in self._roster if not client.ws.outbox.closing]
        own = [client for client in clients if _is_of(client, uid)]
        for at in range(0, len(own), PIECE):  # others get their turn while each is sent
            yield Answer(self._place, 0, members=[_row(client) for client in own[at : at + PIECE]], last=False)
        yield Answer(self._place, len(clients))

    def _tell(self, payload: bytes, uid: str | None) -> int:
        """Send this to all who want notices; how many they are."""
        told, until = 0, time.monotonic() + BUSY_SECONDS
        for client in self._roster:
            if (uid is None or _is_of(client, uid)) and client.notify(payload):
                told += 1
                if not told % 8 and time.monotonic() > until:
                    gevent.sleep(1e-6)  # sleep(0) would hardly let I/O run
                    until = time.monotonic() + BUSY_SECONDS
        return told

    def _drain(self, where: str | None, undo: bool) -> Answer:
        if not self._place.is_meant(where):
            return Answer(self._place, 0, meant=False)
        log.warning("an operator lets this worker take clients again" if undo else "an operator drains this worker")
        there = len(self._roster)
        self._roster.stand_aside(not undo)
        return Answer(self._place, there)


def _is_of(client: Connected, uid: str | None) -> bool:
    """Whether it is this member's, or, without one, any member's."""
    identity = client.identity
    return identity is not None and uid in (None, identity.uid)


def _row(client: Connected) -> Connection:
    assert client.identity is not None
    since = time.time() - (time.monotonic() - client.ws.opened)
    return Connection(client.identity.uid, client.ws.id, client.standing.protocol, client.address, round(since, 3))


def _close(clients: Iterable[Connected]) -> int:
    """Hang up on them: what still waits for them is not sent any more. How many were open."""
    closed = 0
    for client in clients:
        if not client.ws.outbox.closing:
            client.ws.outbox.close(Close.REVOKED, cut=True)
            closed += 1
    return closed
