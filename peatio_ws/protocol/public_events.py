"""Events that are not for single members. The kinds of events for members are in `private_events/`. Pure."""

from __future__ import annotations

import msgspec


class PublicEvent(msgspec.Struct, frozen=True, gc=False):
    """An event of a public or prefixed stream. Clients receive its body byte for byte.

    Attributes:
        stream: the name to which clients subscribe: `btcusd.trades`, `admin.eurusd.sys`.
        body: JSON, checked.
    """

    stream: str
    body: bytes


class BookChange(msgspec.Struct, frozen=True, gc=False):
    """A change of the public book on `peatio.orderbook`, without an owner. Sent only with ORDERBOOK_BROADCAST."""

    body: bytes
