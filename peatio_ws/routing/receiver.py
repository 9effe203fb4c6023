"""One connection, as the router sees it: whose events it gets, and in which form.

Knows nothing of the broker, of sockets and of tokens.
"""

from __future__ import annotations

from typing import Protocol

from peatio_ws.protocol.connection_state import CONNECTION, ConnectionInput, ConnectionState
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.message_fields import Owner
from peatio_ws.protocol.private_events.base import TradeKey
from peatio_ws.routing.history import Position, ReplayPosition
from peatio_ws.routing.seen_trades import SeenTrades
from peatio_ws.transport.outbox import Outbox

CursorsOf = tuple[str | None, Position | None] | None
"""A member's, and the position if they are held; None for events without cursors. Equal ones get the same bytes."""


class PendingMemberId(Protocol):
    """What waits for a receiver's member id; `member_id.py`."""

    def start_from(self, position: ReplayPosition, complete: bool, cursor: str | None) -> tuple[ReplayPosition, bool]:
        """A client that resumes is at this place. Return from where it goes on, and whether nothing will be missing."""

    def answer(self, number: int) -> None:
        """A newer token has the member id."""

    def on_live(self) -> None:
        """The receiver gets its member's events from now on."""

    def leave(self) -> None:
        """It does not any more."""


class Receiver:
    """One connection, as the router sees it.

    Args:
        streams: what it is subscribed to, private streams too; changed in place by its session.

    Attributes:
        state: how far the connection is, see `connection_state.py`.
        uid, member_id: the names under which it receives its member's events; None before it is admitted, or while the
            member id is not known.
        resumes: whether its events come with cursors.
        held: a position that all its cursors have until it is released; see `Router.hold_cursors`.
        pending_member_id: its member id, which is not known yet.
    """

    __slots__ = (
        "dialect",
        "held",
        "member_id",
        "outbox",
        "pending_member_id",
        "resumes",
        "state",
        "streams",
        "trades",
        "uid",
    )

    def __init__(self, outbox: Outbox, dialect: Dialect, streams: list[str] | None = None) -> None:
        self.outbox, self.dialect = outbox, dialect
        self.streams: list[str] = [] if streams is None else streams
        self.state = ConnectionState.OPEN
        self.uid: str | None = None
        self.member_id: int | None = None
        self.resumes = False
        self.held: Position | None = None
        self.pending_member_id: PendingMemberId | None = None
        self.trades: SeenTrades | None = None

    def advance(self, happened: ConnectionInput) -> None:
        """Change the state. Raises `ImpossibleInput` for what cannot happen in this state."""
        self.state = CONNECTION[self.state, happened]

    def admit(self, uid: str) -> None:
        """Say whose events the connection will receive."""
        self.advance(ConnectionInput.ADMIT)
        self.uid = uid

    @property
    def keys(self) -> tuple[Owner, ...]:
        """The names under which events are its member's."""
        return tuple(key for key in (self.uid, self.member_id) if key is not None)

    @property
    def cursors(self) -> CursorsOf:
        """Whose cursors its events come with."""
        return (self.uid, self.held) if self.resumes else None

    def is_new_trade(self, key: TradeKey, now: float) -> bool:
        """Return whether this trade was not sent here before, and remember it; see `SeenTrades`."""
        if self.trades is None:
            self.trades = SeenTrades(now)
        return self.trades.add(key, now)
