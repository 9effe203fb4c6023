"""The subscribers of one stream, in as little memory as possible: clients may invent a hundred thousand names."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeAlias

from peatio_ws.transport.outbox import Outbox

Audience: TypeAlias = "Outbox | dict[Outbox, None]"
"""The subscribers of a stream. An invented name has one; a dictionary would be most of its cost."""


def add_subscriber(audiences: dict[str, Audience], name: str, outbox: Outbox) -> bool:
    """Add a subscriber. Return whether it is new."""
    audience = audiences.get(name)
    if audience is None:
        audiences[name] = outbox
        return True
    if audience is outbox:
        return False
    if not isinstance(audience, dict):
        audience = audiences[name] = {audience: None}
    before = len(audience)
    audience[outbox] = None
    return len(audience) > before


def remove_subscriber(audiences: dict[str, Audience], name: str, outbox: Outbox) -> bool:
    """Remove a subscriber. Return whether it was one."""
    audience = audiences.get(name)
    if audience is outbox:
        del audiences[name]
    elif isinstance(audience, dict) and outbox in audience:
        del audience[outbox]
        if not audience:
            del audiences[name]
    else:
        return False
    return True


def subscribers(audience: Audience | None) -> Collection[Outbox]:
    """Return the subscribers of a stream; of none, nothing."""
    if audience is None:
        return ()
    return audience if isinstance(audience, dict) else (audience,)
