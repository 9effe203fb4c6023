"""The member id of an admitted connection: from its token, or looked up in Redis now or later.

While the member id is unknown, the connection receives the events that name its uid. When Redis answers, the client is
sent the events since its admission that named its member by member id only. From then on it receives such events live.
Until then its cursors do not go beyond what is certain; see `Router.hold_cursors`.
"""

from __future__ import annotations

from collections.abc import Callable

import gevent
import structlog

from peatio_ws.auth.identity import Identity
from peatio_ws.cluster.local_state import MemberIdLookup
from peatio_ws.protocol import encoding
from peatio_ws.protocol.connection_state import ConnectionState
from peatio_ws.routing.history import ReplayPosition
from peatio_ws.routing.receiver import Receiver
from peatio_ws.server.context import WorkerContext

log = structlog.get_logger("peatio_ws.server.connections.member_id")


def look_up(context: WorkerContext, identity: Identity) -> MemberIdLookup:
    """Look up the member id if the token does not have it. May wait, for `REDIS_TIMEOUT` at most."""
    if identity.member_id is None:
        return context.shared.look_up(identity.uid)
    lookup = MemberIdLookup(identity.uid)
    lookup.answer(identity.member_id)
    return lookup


def find_again(
    context: WorkerContext,
    receiver: Receiver,
    identity: Identity,
    connection: str,
    on_found: Callable[[int | None], None],
) -> bool:
    """Look up the member id of a member that had none, with the identity of a newer token. May wait, as `look_up`.

    Returns:
        Whether the receiver gets events by member id now or later, and may have missed earlier ones.
    """
    if receiver.pending_member_id is not None:
        if identity.member_id is not None:
            receiver.pending_member_id.answer(identity.member_id)
        return False
    lookup = look_up(context, identity)
    MemberIdResolution(context, receiver, lookup, connection, on_found).begin()
    return not lookup.known or lookup.number is not None


class MemberIdResolution:
    """The member id of one connection, until the router has it.

    Args:
        context: services of the worker.
        receiver: of the connection.
        lookup: answered or pending.
        connection: the connection's id in the log.
        on_found: called with the member id; with None if the member has none.
    """

    __slots__ = ("_connection", "_context", "_lookup", "_on_found", "_position", "_receiver")

    def __init__(
        self,
        context: WorkerContext,
        receiver: Receiver,
        lookup: MemberIdLookup,
        connection: str,
        on_found: Callable[[int | None], None],
    ) -> None:
        self._context, self._receiver, self._lookup, self._connection = context, receiver, lookup, connection
        self._on_found = on_found
        self._position = context.replays.latest()
        receiver.pending_member_id = self

    def begin(self) -> None:
        """Give an admitted receiver its member id, now or as soon as it is known."""
        lookup, receiver, context = self._lookup, self._receiver, self._context
        if lookup.known:
            receiver.pending_member_id = None
            self._on_found(lookup.number)
            if lookup.number is not None:
                context.router.admit_member_id(receiver, lookup.number)
            return
        self._position = context.replays.latest()
        lookup.on_answer = self._on_answer
        if receiver.resumes:  # a live client with a newer token
            context.router.hold_cursors(receiver, context.history.position())

    def answer(self, number: int) -> None:
        """Answer the lookup: a newer token has the member id. Never waits."""
        self._context.shared.forget_lookup(self._lookup)
        self._lookup.answer(number)

    def start_from(self, position: ReplayPosition, complete: bool, cursor: str | None) -> tuple[ReplayPosition, bool]:
        """Return the position from which a client that resumes continues, and whether nothing will be missing.

        While its member id is unknown, an event may be missing as soon as one since then names any member by member id.
        """
        receiver, history = self._receiver, self._context.history
        if receiver.pending_member_id is None:
            return position, complete
        is_live = receiver.state is ConnectionState.LIVE
        since = self._position if is_live else position
        if complete and history.has_member_ids_after(since.offset):
            position, complete = self._context.replays.latest(), False
        if not is_live:
            self._position = position
        at = self._context.cursors.open(cursor, receiver.uid or "") if complete and cursor is not None else None
        self._context.router.hold_cursors(receiver, at or history.position())
        return position, complete

    def on_live(self) -> None:
        """Act on an answer that came during a replay. Called by the router when the connection is live."""
        if self._lookup.known:
            self._on_answer(self._lookup.number)

    def leave(self) -> None:
        """Forget the lookup. Called by the router when the connection has ended. Never waits."""
        self._receiver.pending_member_id = self._lookup.on_answer = None
        self._context.shared.forget_lookup(self._lookup)
        self._context.router.release_cursors(self._receiver)

    def _on_answer(self, number: int | None) -> None:
        """Act on the answer. Called in the greenlet that looks up, so it never waits."""
        receiver, history = self._receiver, self._context.history
        if receiver.state is ConnectionState.REPLAYING:
            return  # until `on_live`
        self._on_found(number)
        if receiver.state is not ConnectionState.LIVE or number is None:
            # No event was missed, or the missed ones are still to be sent.
            receiver.member_id, receiver.pending_member_id = number, None
            self._context.router.release_cursors(receiver)
            return
        log.debug("member id known", connection=self._connection, uid=receiver.uid, member_id=number)
        if self._context.settings.history == "off":
            self._settle(number, complete=False)
        elif history.era == self._position.era and not self._may_have_missed(number):
            self._settle(number, complete=True)
        else:
            gevent.spawn(self._catch_up, number)

    def _may_have_missed(self, number: int) -> bool:
        history, since = self._context.history, self._position.offset
        return history.names(number, since) or history.lacks_member_ids_after(since)

    def _catch_up(self, number: int) -> None:
        try:
            self._context.replays.catch_up(self._receiver, number, self._position, self._settle)
        except Exception:
            log.exception("replay by member id failed", connection=self._connection)
            self._receiver.outbox.abort()

    def _settle(self, number: int, complete: bool) -> None:
        """Register the member id with the router. Never waits, so that no event comes in between."""
        router, receiver = self._context.router, self._receiver
        if receiver.pending_member_id is None:
            return  # the connection has ended
        receiver.pending_member_id = None
        router.admit_member_id(receiver, number)
        router.release_cursors(receiver)
        # Always: no frame would reveal that no event had named any member by member id.
        if receiver.resumes and not receiver.outbox.closing:
            cursor = self._context.cursors.at(receiver.uid or "")
            receiver.outbox.send_text(encoding.resume(cursor, complete))
