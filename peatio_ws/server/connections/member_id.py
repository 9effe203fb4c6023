"""A session's member id: from its token, or looked up, now or as soon as Redis answers.

A session whose member id is not known is served by its uid. When Redis answers, it is sent from history what named its
member only by number since it was admitted, and from then on it receives such events live. Until then its cursors
promise nothing that is not known; see `Router.hold_cursors`.
"""

from __future__ import annotations

from collections.abc import Callable

import gevent
import structlog

from peatio_ws.auth.identity import Identity
from peatio_ws.cluster.local_state import MemberIdLookup
from peatio_ws.protocol import encoding
from peatio_ws.routing.receiver import Receiver
from peatio_ws.routing.replay import ReplayPosition
from peatio_ws.server.context import WorkerContext
from peatio_ws.transport.frames import text_frame

log = structlog.get_logger("peatio_ws.server.connections.member_id")


def look_up(context: WorkerContext, identity: Identity) -> MemberIdLookup:
    """Look up the member id where the token does not have it. May wait, for `REDIS_TIMEOUT` at most."""
    if identity.member_id is None:
        return context.shared.look_up(identity.uid)
    lookup = MemberIdLookup(identity.uid)
    lookup.answer(identity.member_id)
    return lookup


class MemberIdResolution:
    """One session's.

    Args:
        context: of the worker.
        receiver: of the session.
        lookup: answered or not.
        connection: its id in the log.
        on_found: is called with a member id that becomes known late.
    """

    __slots__ = ("_connection", "_context", "_lookup", "_on_found", "_position", "_receiver")

    def __init__(
        self,
        context: WorkerContext,
        receiver: Receiver,
        lookup: MemberIdLookup,
        connection: str,
        on_found: Callable[[int | None], None] | None = None,
    ) -> None:
        self._context, self._receiver, self._lookup, self._connection = context, receiver, lookup, connection
        self._on_found = on_found
        self._position = context.ingest.replays.latest()
        receiver.pending_member_id = self

    def begin(self) -> None:
        """The receiver has its uid: give it its member id too, now or as soon as that is known."""
        lookup, receiver = self._lookup, self._receiver
        receiver.member_id = lookup.number
        if lookup.known:
            receiver.pending_member_id = None
        else:
            self._position = self._context.ingest.replays.latest()
            lookup.on_answer = self._on_answer

    def start_from(self, position: ReplayPosition, complete: bool, cursor: str | None) -> tuple[ReplayPosition, bool]:
        """A client that resumes is at this place. Return from where it goes on, and whether nothing will be missing.

        If its member id is not known, something may be missing as soon as any member was named by number since.
        """
        receiver, history = self._receiver, self._context.ingest.history
        if receiver.pending_member_id is None:
            return position, complete
        since = self._position if receiver.admitted else position
        if complete and history.numbered_after(since.offset):
            position, complete = self._context.ingest.replays.latest(), False
        if not receiver.admitted:
            self._position = position
        at = self._context.ingest.cursors.open(cursor, receiver.uid or "") if complete and cursor is not None else None
        self._context.router.hold_cursors(receiver, at or history.position())
        return position, complete

    def admitted(self) -> None:
        """From now on the session receives what names its uid. Called by the router."""
        self._receiver.replaying = False
        if self._lookup.known:
            self._on_answer(self._lookup.number)

    def leave(self) -> None:
        """The session has ended. Never waits. Called by the router."""
        self._receiver.pending_member_id = self._lookup.on_answer = None
        self._context.shared.forget_lookup(self._lookup)
        self._context.router.release_cursors(self._receiver)

    def _on_answer(self, number: int | None) -> None:
        """The member id is known. Called in the greenlet that looks up, so it never waits."""
        receiver, history = self._receiver, self._context.ingest.history
        if receiver.replaying:
            return  # `admitted` comes back to it
        if self._on_found is not None:
            self._on_found(number)
        if not receiver.admitted or number is None:
            # Nothing was missed, or what was is yet to be sent.
            receiver.member_id, receiver.pending_member_id = number, None
            self._context.router.release_cursors(receiver)
            return
        log.debug("member id known", connection=self._connection, uid=receiver.uid, member_id=number)
        if self._context.settings.history == "off":
            self._settle(number, complete=False)
        elif history.era == self._position.era and not history.names(number, self._position.offset):
            self._settle(number, complete=True)
        else:
            gevent.spawn(self._catch_up, number)

    def _catch_up(self, number: int) -> None:
        try:
            self._context.ingest.replays.catch_up(self._receiver, number, self._position, self._settle)
        except Exception:
            log.exception("what named a member by number could not be sent", connection=self._connection)
            self._receiver.outbox.abort()

    def _settle(self, number: int, complete: bool) -> None:
        """From now on nothing is missing. Never waits, so that nothing comes in between."""
        router, receiver = self._context.router, self._receiver
        if receiver.pending_member_id is None:
            return  # it has gone
        receiver.pending_member_id = None
        router.admit_member_id(receiver, number)
        router.release_cursors(receiver)
        # Always: to hear nothing would tell that no event had named any member by number.
        if receiver.resumes and not receiver.outbox.closing:
            cursor = self._context.ingest.cursors.at(receiver.uid or "")
            receiver.outbox.send(text_frame(encoding.resume(cursor, complete)))
