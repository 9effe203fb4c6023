"""The syntax of stream names: the kind of a stream, and who may subscribe to it (contract section 2).

Pure. Does not know which streams a client has (`session.py`), nor where they come from.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import Final

MAX_CHARACTERS: Final = 128
"""The longest stream name."""
# No character with a meaning in a binding's pattern (*, #), in JSON or in a log.
_NAME: Final = re.compile(r"[A-Za-z0-9_:@+/-]+(?:\.[A-Za-z0-9_:@+/-]+){0,2}")

Roles = Mapping[str, frozenset[str]]
"""The roles that may subscribe to the streams of a prefix (`RANGO_RBAC_<PREFIX>`)."""


class Kind(enum.IntEnum):
    """The kinds of streams, by the number of dots in the name."""

    PRIVATE = 0
    PUBLIC = 1
    PREFIXED = 2


def kind_of(name: str) -> Kind | None:
    """Return the kind of stream with this name; None if the name is invalid."""
    if len(name) > MAX_CHARACTERS or not _NAME.fullmatch(name):
        return None
    return Kind(name.count("."))


def is_trades(name: str) -> bool:
    """Return whether a stream is a public one of trades, of which clients can receive what they missed
    (docs/protocol.md, "Trades across a cut")."""
    return name.endswith(".trades") and name.count(".") == 1


def is_permitted(name: str, role: str, roles: Roles) -> bool:
    """Return whether a role may subscribe to this prefixed stream. No role may use an unknown prefix."""
    return bool(role) and role in roles.get(name.partition(".")[0], ())


def client_name(name: str) -> str:
    """Return the name under which a stream's events reach clients: without the prefix, as Rango sends them."""
    return name.partition(".")[2] if name.count(".") == Kind.PREFIXED else name


def routing_keys(name: str) -> tuple[str, ...]:
    """Return the routing keys of a public or prefixed stream (contract section 3)."""
    if name.count(".") == Kind.PREFIXED:
        return (name,)
    return (f"public.{name}", name) if name.startswith("global.") else (f"public.{name}",)


def with_snapshot(name: str) -> tuple[str, ...]:
    """Return a stream, and for an `-inc` also its `-snap`."""
    return (name, f"{name.removesuffix('-inc')}-snap") if name.endswith("-inc") else (name,)
