"""The streams that a handler sends its client: which ones the client may have, and what they need from the broker.

Knows the outbox of the connection; knows neither its messages nor how a token is verified (`handler_connection.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from peatio_ws.auth.identity import Identity
from peatio_ws.cluster.local_state import MemberIdLookup
from peatio_ws.concurrency.yielding import let_others_run
from peatio_ws.errors import ClientError
from peatio_ws.protocol.connection_state import NOT_ADMITTED, ConnectionInput, ConnectionState
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.stream_syntax import Kind, kind_of
from peatio_ws.protocol.subscription_rules import Denial
from peatio_ws.routing.receiver import Receiver
from peatio_ws.server.connections.member_id import MemberIdResolution
from peatio_ws.server.context import WorkerContext
from peatio_ws.transport.outbox import Outbox


class HandlerStreams:
    """The streams of one handler's connection.

    What the connection needs from the broker is counted before the wait for the broker. It is released again if the
    wait is interrupted, if the connection ends meanwhile, or if another greenlet has acquired the same.

    Args:
        context: services shared by all connections of the worker.
        connection: the connection's id in the log.
        on_member_id: called with the member id when it is known; with None if the member has none.
    """

    __slots__ = ("_connection", "_context", "_on_member_id", "_receiver")

    def __init__(
        self, context: WorkerContext, outbox: Outbox, connection: str, on_member_id: Callable[[int | None], None]
    ) -> None:
        self._context, self._connection, self._on_member_id = context, connection, on_member_id
        self._receiver = Receiver(outbox, Dialect.RANGER)

    @property
    def names(self) -> Sequence[str]:
        """The streams that the client is subscribed to, in this order."""
        return self._receiver.streams

    def subscribe(self, names: Iterable[str], member: Identity | None, lookup: MemberIdLookup | None) -> None:
        """Subscribe the client to streams; see `HandlerConnection.subscribe`.

        Args:
            member: the client's identity; None for an anonymous client.
            lookup: of the member's id; None for an anonymous client.
        """
        receiver, rules = self._receiver, self._context.rules
        outbox, mine = receiver.outbox, receiver.streams
        new = [name for name in dict.fromkeys(names) if name not in mine]
        if not rules.is_room(len(mine), len(new)):
            raise ClientError(f"too many streams: a connection has {rules.most} at most")
        new = [self._check(name, member) for name in new]
        if member is not None and lookup is not None and any(kind_of(name) is Kind.PRIVATE for name in new):
            self._admit(member, lookup)
        interest, unused = self._context.interest, list(new)
        try:
            interest.acquire_streams(new)  # may wait
            for name in new:
                let_others_run()  # it takes a while to encode and compress a book
                if name not in mine and receiver.state is not ConnectionState.ENDED:
                    unused.remove(name)
                    self._add(name)
                # All books may be more than the outbox holds, so each waits until the client has read some.
                if not outbox.wait(outbox.limit // 2):
                    return
        finally:
            for name in unused:
                interest.release_stream(name)

    def unsubscribe(self, names: Iterable[str]) -> None:
        """Stop sending the client these streams. Idempotent. Never waits."""
        receiver = self._receiver
        for name in set(names).intersection(receiver.streams):
            receiver.streams.remove(name)
            self._context.router.unsubscribe(receiver, name)
            self._context.interest.release_stream(name)

    def end(self) -> None:
        """Release everything. A greenlet that still subscribes finds a receiver that has ended. Never waits."""
        receiver = self._receiver
        self.unsubscribe(receiver.streams)
        self._context.router.remove(receiver)
        if receiver.uid is not None:
            self._context.interest.release_member(receiver.uid)

    def _check(self, name: str, member: Identity | None) -> str:
        """Return the name as the worker keeps it. Raises ClientError if the client may not have the stream."""
        kept = self._context.rules.check(name, member, len(self._receiver.streams))
        if isinstance(kept, Denial):
            raise ClientError(f"cannot subscribe to {name[:128]}{kept.value}")
        return kept

    def _admit(self, member: Identity, lookup: MemberIdLookup) -> None:
        """Send the client the events of its member, of the streams it is subscribed to. Idempotent."""
        context, receiver = self._context, self._receiver
        if receiver.state not in NOT_ADMITTED:
            return
        context.ingest.wait_until_live()
        admitted = False
        try:
            context.interest.acquire_member(member.uid)  # may wait
            admitted = receiver.state in NOT_ADMITTED
        finally:
            if not admitted:
                context.interest.release_member(member.uid)
        if admitted:
            receiver.admit(member.uid)
            MemberIdResolution(context, receiver, lookup, self._connection, self._on_member_id).begin()
            context.router.go_live(receiver)

    def _add(self, name: str) -> None:
        """Send the client a stream from now on. Never waits."""
        receiver = self._receiver
        receiver.advance(ConnectionInput.SUBSCRIBE)
        receiver.streams.append(name)
        self._context.router.subscribe(receiver, name)
        receiver.outbox.flush()
