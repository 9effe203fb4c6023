"""What every kind of private event can tell: who receives it, and its text for each of them.

The router, the history and the replay know only this class, so none of them changes for a new kind:

1. Add a file to this folder with a subclass of `PrivateEvent` and a function that reads it.
2. Add that function to the table in `protocol/deliveries.py`.

Pure. Does not know who is connected (`routing/router.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

import msgspec

from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.message_fields import Owner

if TYPE_CHECKING:
    from peatio_ws.protocol.private_events.order import Order

Recall: TypeAlias = Callable[[bytes, Owner], bytes | None]
"""Returns an order as last seen, as classic JSON, by its id (JSON) and its owner; None if it was not seen."""
Variant: TypeAlias = tuple[int, ...]
"""Which of the texts of an event a connection receives; () for an event with one text per protocol."""


class TradeKey(NamedTuple):
    """Identifies a trade, however a publisher quotes it.

    Attributes:
        market: empty if this copy does not name it. It then matches every trade with this id.
    """

    id: bytes
    market: bytes


class Recipient(Protocol):
    """What an event may depend on: a connection of one of its owners."""

    dialect: Dialect
    streams: list[str]
    uid: str | None
    member_id: int | None


class PrivateEvent(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An event for members.

    Attributes:
        owners: the members, each by the name that the publisher used.
        key: identifies an event that publishers may send twice in different forms; None if they do not.
    """

    owners: tuple[Owner, ...]
    key: TradeKey | None = None

    @property
    def orders(self) -> tuple[Order, ...]:
        """The orders it contains. Workers remember their last state."""
        return ()

    @property
    def state_of(self) -> bytes | None:
        """The object whose latest state it is, if it is one: clients never receive an older state after a newer one."""
        return None

    def variant(self, recipient: Recipient, translates: bool) -> Variant | None:
        """Return which of the event's texts a connection receives; None if it receives none. Connections with the same
        protocol and variant receive the same text.

        Args:
            translates: whether events of the classic exchanges reach ranger clients (`RANGER_CLASSIC_EVENTS`).
        """
        raise NotImplementedError

    def encode(self, dialect: Dialect, variant: Variant, recall: Recall) -> bytes:
        """Return a text of the event, a JSON object.

        Args:
            variant: see `variant`.
            recall: finds orders that the event names by id only.
        """
        raise NotImplementedError
