"""What every kind of private event can tell: who receives it, and its text for each of them.

The router, the history and the replay know only this class, so none of them changes for a new kind:

1. Add a file to this folder with a subclass of `PrivateEvent`, and a `BodyReader` that makes it from a body.
2. Add that reader to the table in `kinds.py`.

If a kind differs only in who receives it, subclass `MemberEvent` instead.

Pure. Does not know who is connected (`routing/router.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

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
    def stream(self) -> str:
        """The private stream to which ranger clients subscribe for it."""
        raise NotImplementedError

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
            translates: whether trades of `peatio.trade` go to ranger connections too (`RANGER_CLASSIC_EVENTS`).
        """
        raise NotImplementedError

    def encode(self, dialect: Dialect, variant: Variant, recall: Recall) -> bytes:
        """Return a text of the event, a JSON object.

        Args:
            variant: see `variant`.
            recall: finds orders that the event names by id only.
        """
        raise NotImplementedError


Fields = TypeVar("Fields", bound=msgspec.Struct)


class BodyReader(Generic[Fields]):
    """Reads the bodies of one kind of event, `private.<uid>.<name>` of `peatio.events.ranger`.

    It decodes the whole body before the kind sees it, and msgspec checks the parts that it skips, too. So every body in
    an event is JSON, whichever of its fields the kind reads.

    Args:
        fields: the fields that `make` uses. `msgspec.Raw` accepts every value; other types drop events that differ.
        make: returns the event, from the uid, the body and its fields; None if the body is not of this kind.
    """

    __slots__ = ("_decode", "_make")

    def __init__(self, fields: type[Fields], make: Callable[[str, bytes, Fields], PrivateEvent | None]) -> None:
        self._decode, self._make = msgspec.json.Decoder(fields).decode, make

    def read(self, uid: str, body: bytes) -> PrivateEvent | None:
        """Return the event; None if the body does not begin like an object, or is not of this kind.

        Args:
            body: UTF-8.

        Raises:
            msgspec.DecodeError, RecursionError: it is not JSON. ValidationError: its fields have other types.
            BadDelivery: raised by `make`.
        """
        return self._make(uid, body, self._decode(body)) if body.lstrip()[:1] == b"{" else None
