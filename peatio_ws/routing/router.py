"""Members to outboxes: who is connected here, and who gets which event.

Never waits: an event is encoded once for everybody who gets the same bytes and put into outboxes; `flush` sends what
the batch brought, one write a client. Public streams are `channels.py`'s. Knows nothing of the broker, of sockets and
of tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Final

import gevent

from peatio_ws.monitoring.counters import EventCounters
from peatio_ws.protocol import encoding, event_kinds
from peatio_ws.protocol.connection_state import ConnectionInput, ConnectionState
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.event_kinds import BookChange, Event, Order, Owner, Party, StreamEvent, Trade
from peatio_ws.protocol.stream_syntax import Kind, kind_of
from peatio_ws.routing.channels import PublicChannels
from peatio_ws.routing.cursor import Cursors
from peatio_ws.routing.history import Entry, Position
from peatio_ws.routing.receiver import CursorsOf, Receiver
from peatio_ws.routing.seen_trades import key_of
from peatio_ws.transport.frames import text_frame
from peatio_ws.transport.outbox import Outbox, flush_all, put_all

BUSY_SECONDS: Final = 0.008
"""How long writing may go on without letting other greenlets run."""
AT_A_TIME: Final = 8
"""Clients written to between two looks at the clock."""

_Of = Callable[[Owner], "tuple[Receiver, ...]"]
"""Whose connections an event goes to."""
Recall = Callable[[bytes, Owner], "bytes | None"]
"""An order as last seen, as classic JSON, by its id (a JSON text) and its owner; None if it was not seen."""


class Router:
    """The register of one worker, and the routing.

    Args:
        recall: see `Recall`.
        remember: is given each order that passes, to recall it later.
        cursors: of the history in which entries are.
        broadcast: whether book changes without an owner go to every authenticated classic connection.
        translates: whether trades of `peatio.trade` go to ranger connections too (`RANGER_CLASSIC_EVENTS`).
        counters: gets what became of the events, and how many frames they came to.
    """

    def __init__(
        self,
        recall: Recall,
        remember: Callable[[Order], None],
        cursors: Cursors,
        broadcast: bool = False,
        max_books: int = 1000,
        report: Callable[[str, str], None] = lambda _what, _stream: None,
        counters: EventCounters | None = None,
        translates: bool = True,
    ) -> None:
        self._recall, self._remember, self._broadcast = recall, remember, broadcast
        self._cursors, self._translates, self.counters = cursors, translates, counters or EventCounters()
        # Most members have one connection: a tuple of one is small, and safe to iterate whatever happens meanwhile.
        self._members: dict[Owner, tuple[Receiver, ...]] = {}
        self._unnumbered: dict[Receiver, Position] = {}
        self._touched: list[Outbox] = []
        self.channels = PublicChannels(self._put, self.flush, max_books, report)

    def __len__(self) -> int:
        """Keys in the register; 0 when nobody is connected."""
        return len(self._members) + len(self.channels)

    def go_live(self, receiver: Receiver) -> None:
        """Send an admitted receiver its member's events from now on."""
        receiver.advance(ConnectionInput.GO_LIVE)
        for key in receiver.keys:
            self._members[key] = (*self._members.get(key, ()), receiver)
        if receiver.pending_member_id is not None:
            receiver.pending_member_id.on_live()

    def admit_member_id(self, receiver: Receiver, number: int) -> None:
        """From now on a receiver that is admitted by its uid also gets what names its member by number."""
        receiver.member_id = number
        others = self._members.get(number, ())
        if receiver.state is ConnectionState.LIVE and receiver not in others:
            self._members[number] = (*others, receiver)

    def hold_cursors(self, receiver: Receiver, position: Position) -> None:
        """Its member id is not known: after an event that names any member by number, a newer cursor could promise too
        much."""
        self._unnumbered[receiver] = position

    def release_cursors(self, receiver: Receiver) -> None:
        """Its events come with their own cursors again."""
        self._unnumbered.pop(receiver, None)
        receiver.held = None

    def cursor(self, receiver: Receiver, entry: Entry | None = None) -> str:
        """Return the receiver's cursor behind an event or behind the newest, or the held one."""
        uid = receiver.uid or ""
        return self._cursors.at(uid, entry) if receiver.held is None else self._cursors.seal(receiver.held, uid)

    def subscribe(self, receiver: Receiver, stream: str) -> None:
        """From now on this receiver gets a stream, the current book first; the caller flushes its outbox."""
        if kind_of(stream) is not Kind.PRIVATE:  # those go by member, see `Receiver.wants`
            self.counters.frames += self.channels.subscribe(receiver.outbox, stream)

    def unsubscribe(self, receiver: Receiver, stream: str) -> None:
        """It gets it no more; harmless if it did not."""
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

    def route(self, event: Event, entry: Entry | None = None) -> None:
        """Put an event into the outboxes of all whom it concerns; `flush` sends it.

        Args:
            entry: a private event's place in history, where there is one.
        """
        if self._unnumbered and entry is not None and any(isinstance(owner, int) for owner in entry.owners):
            self._hold_all()
        if isinstance(event, Order):
            self._remember(event)
            sent = self._route_order(event, self._of_owner, entry)
        elif isinstance(event, Trade):
            self.learn(event)
            sent = self._route_trade(event, self._of_owner, entry)
        elif isinstance(event, StreamEvent):
            if event.owner is None:
                sent = self.channels.publish(event.stream, event.body)
            else:
                sent = self._route_private(event, self._of_owner, entry)
        else:
            sent = self._route_book_change(event)
        self.counters.events["sent" if sent else "nobody"] += 1

    def _hold_all(self) -> None:
        held, self._unnumbered = self._unnumbered, {}
        for receiver, position in held.items():
            receiver.held = position

    def learn(self, event: Event) -> None:
        """Remember the orders of an event that everybody has had before."""
        if isinstance(event, Order):
            self._remember(event)
        elif isinstance(event, Trade):
            for party in event.parties:
                if party.order is not None:
                    self._remember(party.order)

    def replay(self, receiver: Receiver, event: Event, entry: Entry) -> None:
        """Put an event of the past into the outbox of one whom it concerns; the caller flushes it."""

        def of(owner: Owner) -> tuple[Receiver, ...]:
            return (receiver,) if owner in receiver.keys else ()

        if isinstance(event, Order):
            self._route_order(event, of, entry)
        elif isinstance(event, Trade):
            self._route_trade(event, of, entry)
        elif isinstance(event, StreamEvent):
            self._route_private(event, of, entry)
        if self._touched and self._touched[-1] is receiver.outbox:
            self._touched.pop()

    def notify_gap(self) -> int:
        """Something may have been missed: tell all who resume (contract section 5); how many they are."""
        resuming = self._all_admitted(lambda receiver: receiver.resumes)
        for outbox, uid in resuming.items():
            self._put(text_frame(encoding.resume(self._cursors.at(uid), complete=False)), (outbox,))
        self.flush()
        return len(resuming)

    def _of_owner(self, owner: Owner) -> tuple[Receiver, ...]:
        return self._members.get(owner, ())

    def flush(self) -> bool:
        """Send what the events since the last call put into outboxes, one write a client; whether there was any."""
        touched, self._touched, done = self._touched, [], 0
        until = time.monotonic() + BUSY_SECONDS
        try:
            while done < len(touched):
                if done and time.monotonic() > until:
                    gevent.sleep(1e-6)  # sleep(0) would hardly let I/O run
                    until = time.monotonic() + BUSY_SECONDS
                flush_all(touched[done : done + AT_A_TIME])
                done += AT_A_TIME
        finally:
            # A consumer whose broker is lost is ended in its sleep: the others are for the next one's flush.
            self._touched = touched[done:] + self._touched
        return bool(touched)

    def _put(self, frame: bytes, outboxes: Collection[Outbox], frames: int = 1) -> None:
        self.counters.frames += frames * (len(outboxes) - put_all(frame, outboxes, self._touched))

    def _frame(self, receiver: Receiver, payload: bytes, entry: Entry | None) -> bytes:
        if receiver.resumes and entry is not None:
            payload = encoding.with_cursor(payload, self.cursor(receiver, entry))
        return text_frame(payload)

    def _route_order(self, order: Order, of: _Of, entry: Entry | None) -> bool:
        frames: dict[tuple[Dialect, CursorsOf], bytes] = {}
        for receiver in of(order.owner):
            if not receiver.wants("order"):
                continue
            form = (receiver.dialect, receiver.cursors)
            frame = frames.get(form)
            if frame is None:
                frame = frames[form] = self._frame(receiver, encoding.order(receiver.dialect, order), entry)
            self._put(frame, (receiver.outbox,))
        return bool(frames)

    def _route_private(self, event: StreamEvent, of: _Of, entry: Entry | None) -> bool:
        assert event.owner is not None
        frames: dict[CursorsOf, bytes] = {}
        for receiver in of(event.owner):
            if receiver.dialect is not Dialect.RANGER or not receiver.wants(event.stream):
                continue
            form = receiver.cursors
            frame = frames.get(form)
            if frame is None:
                payload = encoding.stream_event(event.stream, event.body)
                frame = frames[form] = self._frame(receiver, payload, entry)
            self._put(frame, (receiver.outbox,))
        return bool(frames)

    def _route_trade(self, trade: Trade, of: _Of, entry: Entry | None) -> bool:
        concerned: dict[Receiver, list[Party]] = {}
        for party in trade.parties:
            for receiver in of(party.owner):
                concerned.setdefault(receiver, []).append(party)
        if not concerned:
            return False
        key, now = key_of(trade), time.monotonic()
        frames: dict[tuple[Dialect, CursorsOf, tuple[str, ...]], bytes] = {}
        for receiver, parties in concerned.items():
            if not receiver.wants("trade") or not self._is_for(receiver, trade):
                continue
            if not receiver.is_new_trade(key, now):
                self.counters.events["repeated"] += 1
                continue
            form = (receiver.dialect, receiver.cursors, tuple(party.side for party in parties))
            frame = frames.get(form)
            if frame is None:
                frame = frames[form] = self._frame(receiver, self._trade(receiver.dialect, trade, parties), entry)
            self._put(frame, (receiver.outbox,))
        return bool(frames)

    def _is_for(self, receiver: Receiver, trade: Trade) -> bool:
        """Return whether a trade in this form is for this connection, whoever else gets it."""
        return self._translates or trade.verbatim is not None or receiver.dialect is Dialect.CLASSIC

    def _trade(self, dialect: Dialect, trade: Trade, parties: list[Party]) -> bytes:
        if dialect is Dialect.RANGER:
            return encoding.trade(encoding.ranger_trade(trade, parties[0].side, parties[0].order_id))
        orders = {party.side: self._own_order(party) for party in parties if party.side}
        side = "both" if len(orders) == 2 else parties[0].side
        body = encoding.classic_trade(trade, side, parties[0].order_id, orders.get("ask"), orders.get("bid"))
        return encoding.trade(body)

    def _own_order(self, party: Party) -> bytes:
        """The receiver's own order: as the publisher added it, as last seen, or just its id."""
        if party.order is not None:
            return encoding.classic_order(party.order)
        if party.order_id == event_kinds.NULL:
            return encoding.order_stub(party.order_id)
        return self._recall(party.order_id, party.owner) or encoding.order_stub(party.order_id)

    def _route_book_change(self, change: BookChange) -> bool:
        if not self._broadcast:
            return False
        frame = text_frame(encoding.orderbook(change.body))
        everybody = self._all_admitted(lambda receiver: receiver.dialect is Dialect.CLASSIC)
        self._put(frame, everybody)
        return bool(everybody)

    def _all_admitted(self, which: Callable[[Receiver], bool]) -> dict[Outbox, str]:
        """The outboxes of all these, each once, though a member may be here by two names; and their members' uids."""
        return {r.outbox: r.uid or "" for receivers in self._members.values() for r in receivers if which(r)}
