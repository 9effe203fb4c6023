"""Which connections receive which private event. Public streams are in `channels.py`.

Never waits: the router encodes an event once for all receivers of the same bytes and puts it into their outboxes;
`Batch.flush` sends them. Live events, replayed events, and events that are only learned from take the same way:
`recipients` and `encode`. Knows no kind of event (`protocol/private_events/`), no broker, no socket and no token.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from typing import TypeAlias

from peatio_ws.monitoring import metrics
from peatio_ws.monitoring.counters import WorkerCounters
from peatio_ws.protocol import encoding
from peatio_ws.protocol.connection_state import ConnectionInput, ConnectionState
from peatio_ws.protocol.deliveries import Event
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.message_fields import Owner
from peatio_ws.protocol.private_events.base import PrivateEvent, Recall, Variant
from peatio_ws.protocol.private_events.order import Order
from peatio_ws.protocol.public_events import BookChange, PublicEvent
from peatio_ws.protocol.stream_syntax import Kind, kind_of
from peatio_ws.routing.batch import Batch
from peatio_ws.routing.channels import PublicChannels
from peatio_ws.routing.cursor import Cursors
from peatio_ws.routing.history import Entry, Position
from peatio_ws.routing.receiver import CursorsOf, Receiver
from peatio_ws.transport.frames import text_frame
from peatio_ws.transport.outbox import Outbox

Audience: TypeAlias = tuple[Dialect, CursorsOf, Variant]
"""What the bytes of an event depend on. All connections of an audience receive the same frame, encoded once."""


class Router:
    """The register of members of one worker.

    Args:
        recall: see `Recall`.
        remember: receives each order, so that `recall` finds it later.
        cursors: seals the cursors of the events.
        batch: the outboxes to flush.
        channels: the public streams.
        counters: of the worker.
        broadcast: whether book changes without an owner go to every authenticated classic connection.
        translates: whether trades of `peatio.trade` go to ranger connections too (`RANGER_CLASSIC_EVENTS`).
    """

    def __init__(
        self,
        recall: Recall,
        remember: Callable[[Order], None],
        cursors: Cursors,
        batch: Batch,
        channels: PublicChannels,
        counters: WorkerCounters,
        broadcast: bool = False,
        translates: bool = True,
    ) -> None:
        self._recall, self._remember, self._cursors = recall, remember, cursors
        self.batch, self.channels = batch, channels
        self._broadcast, self._translates = broadcast, translates
        self._sent, self._unsent, self._repeated = (
            counters.count(metrics.events, outcome) for outcome in ("sent", "nobody", "repeated")
        )
        # Most members have one connection. A tuple of one is small, and safe to iterate while members come and go.
        self._members: dict[Owner, tuple[Receiver, ...]] = {}
        self._unnumbered: dict[Receiver, Position] = {}

    def __len__(self) -> int:
        """Return the number of keys in the register; 0 without connections."""
        return len(self._members) + len(self.channels)

    # ---- the register

    def go_live(self, receiver: Receiver) -> None:
        """Send an admitted receiver its member's events from now on."""
        receiver.advance(ConnectionInput.GO_LIVE)
        for key in receiver.keys:
            self._members[key] = (*self._members.get(key, ()), receiver)
        if receiver.pending_member_id is not None:
            receiver.pending_member_id.on_live()

    def admit_member_id(self, receiver: Receiver, number: int) -> None:
        """Send an admitted receiver also the events that name its member by member id."""
        receiver.member_id = number
        others = self._members.get(number, ())
        if receiver.state is ConnectionState.LIVE and receiver not in others:
            self._members[number] = (*others, receiver)

    def hold_cursors(self, receiver: Receiver, position: Position) -> None:
        """Hold back newer cursors after the next event that names any member by member id: the receiver's member id is
        not known, so a newer cursor could skip an event of its member."""
        self._unnumbered[receiver] = position

    def release_cursors(self, receiver: Receiver) -> None:
        """Send the receiver's events with their own cursors again."""
        self._unnumbered.pop(receiver, None)
        receiver.held = None

    def cursor(self, receiver: Receiver) -> str:
        """Return the receiver's cursor behind the newest event, or the held cursor."""
        return self._cursor(receiver.uid, receiver.held, None)

    def _cursor(self, uid: str | None, held: Position | None, entry: Entry | None) -> str:
        return self._cursors.at(uid or "", entry) if held is None else self._cursors.seal(held, uid or "")

    def subscribe(self, receiver: Receiver, stream: str) -> None:
        """Send the receiver a stream from now on, its current book first. The caller flushes the outbox."""
        if kind_of(stream) is not Kind.PRIVATE:  # private streams depend on the member, see `PrivateEvent.variant`
            self.batch.count(self.channels.subscribe(receiver.outbox, stream))

    def unsubscribe(self, receiver: Receiver, stream: str) -> None:
        """Stop sending the receiver a stream. Idempotent."""
        self.channels.unsubscribe(receiver.outbox, stream)

    def remove(self, receiver: Receiver) -> None:
        """Stop sending the receiver anything. Its connection has ended."""
        receiver.advance(ConnectionInput.END)
        if receiver.pending_member_id is not None:
            receiver.pending_member_id.leave()
        for stream in receiver.streams:
            self.unsubscribe(receiver, stream)
        for key in receiver.keys:
            rest = tuple(other for other in self._members.get(key, ()) if other is not receiver)
            if rest:
                self._members[key] = rest
            else:
                self._members.pop(key, None)

    # ---- events

    def route(self, event: Event, entry: Entry | None = None) -> None:
        """Put an event into the outboxes of its recipients. `Batch.flush` sends it.

        Args:
            entry: the place of a private event in the history, if there is one.
        """
        if not isinstance(event, PrivateEvent):
            self._route_public(event)
            return
        if self._unnumbered and entry is not None and any(isinstance(owner, int) for owner in event.owners):
            self._hold_all()
        for order in event.orders:
            self._remember(order)
        audiences = self.recipients(event, self._connections_of(event.owners))
        for audience, outboxes in audiences.items():
            self.batch.put(self.encode(event, audience, entry), outboxes)
        (self._sent if audiences else self._unsent).value += 1

    def learn(self, event: Event) -> None:
        """Remember the orders of an event that is not to be sent."""
        if isinstance(event, PrivateEvent):
            for order in event.orders:
                self._remember(order)

    def replay(self, receiver: Receiver, event: PrivateEvent, entry: Entry) -> None:
        """Put a past event of the receiver's member into its outbox. The caller flushes it."""
        for audience, (outbox,) in self.recipients(event, (receiver,)).items():
            if not outbox.closing:
                outbox.put(self.encode(event, audience, entry))
                self.batch.count(1)

    def remember_trade(self, receiver: Receiver, event: PrivateEvent) -> None:
        """Remember a trade that the receiver's client received on an earlier connection, so that another copy of it is
        not sent again. Does nothing for a copy that was not for this client."""
        if event.key is not None and event.variant(receiver, self._translates) is not None:
            receiver.is_new_trade(event.key, time.monotonic())

    def recipients(self, event: PrivateEvent, connections: Iterable[Receiver]) -> dict[Audience, list[Outbox]]:
        """Return the outboxes of the connections that receive an event, by audience.

        Args:
            connections: of the event's owners.
        """
        audiences: dict[Audience, list[Outbox]] = {}
        for receiver in connections:
            variant = event.variant(receiver, self._translates)
            if variant is None:
                continue
            if event.key is not None and not receiver.is_new_trade(event.key, time.monotonic()):
                self._repeated.value += 1
                continue
            audience = (receiver.dialect, receiver.cursors if receiver.resumes else None, variant)
            if audience in audiences:
                audiences[audience].append(receiver.outbox)
            else:
                audiences[audience] = [receiver.outbox]
        return audiences

    def encode(self, event: PrivateEvent, audience: Audience, entry: Entry | None) -> bytes:
        """Return the frame of an event for an audience.

        Args:
            entry: the place of the event in the history, for audiences with cursors.
        """
        dialect, cursors, variant = audience
        payload = event.encode(dialect, variant, self._recall)
        if cursors is not None and entry is not None:
            payload = encoding.with_cursor(payload, self._cursor(*cursors, entry))
        return text_frame(payload)

    def _connections_of(self, owners: tuple[Owner, ...]) -> Collection[Receiver]:
        """Return the connections here of these members, each once."""
        if len(owners) == 1:
            return self._members.get(owners[0], ())
        return dict.fromkeys(receiver for owner in owners for receiver in self._members.get(owner, ()))

    def notify_gap(self) -> int:
        """Notify all clients that resume that events may be missing (contract section 5): put the notice into their
        outboxes. Return how many there are."""
        resuming = self._all_admitted(lambda receiver: receiver.resumes)
        for outbox, uid in resuming.items():
            self.batch.put(text_frame(encoding.resume(self._cursors.at(uid), complete=False)), (outbox,))
        return len(resuming)

    def _hold_all(self) -> None:
        held, self._unnumbered = self._unnumbered, {}
        for receiver, position in held.items():
            receiver.held = position

    def _route_public(self, event: PublicEvent | BookChange) -> None:
        sent = False
        if isinstance(event, PublicEvent):
            sent = self.channels.publish(event.stream, event.body)
        elif self._broadcast:
            classic = self._all_admitted(lambda receiver: receiver.dialect is Dialect.CLASSIC)
            self.batch.put(text_frame(encoding.orderbook(event.body)), classic)
            sent = bool(classic)
        (self._sent if sent else self._unsent).value += 1

    def _all_admitted(self, which: Callable[[Receiver], bool]) -> dict[Outbox, str]:
        """Return the outboxes of these receivers with their members' uids. Each once: a member has up to two keys."""
        return {r.outbox: r.uid or "" for receivers in self._members.values() for r in receivers if which(r)}
