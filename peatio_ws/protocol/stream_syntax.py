"""What a stream's name says: whose it is, and who may have it (contract section 2).

Pure. Which streams somebody has is the session's to know, where they come from the broker's.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import Final

MAX_CHARACTERS: Final = 128
"""Of a stream's name."""
# No character that means something in a routing key's pattern (*, #), in JSON or in a log.
_NAME: Final = re.compile(r"[A-Za-z0-9_:@+/-]+(?:\.[A-Za-z0-9_:@+/-]+){0,2}")

Roles = Mapping[str, frozenset[str]]
"""Prefix to the roles that may subscribe to its streams (`RANGO_RBAC_<PREFIX>`)."""


class Kind(enum.IntEnum):
    """The kinds of streams, by the number of dots in the name."""

    PRIVATE = 0
    PUBLIC = 1
    PREFIXED = 2


def kind_of(name: str) -> Kind | None:
    """What kind of stream a name means; None if it is no stream's name."""
    if len(name) > MAX_CHARACTERS or not _NAME.fullmatch(name):
        return None
    return Kind(name.count("."))


def is_permitted(name: str, role: str, roles: Roles) -> bool:
    """Whether a role may have this prefixed stream. An unknown prefix is for nobody."""
    return bool(role) and role in roles.get(name.partition(".")[0], ())


def client_name(name: str) -> str:
    """The name under which a stream's events reach clients: a prefixed one's is without its prefix, as Rango's are."""
    return name.partition(".")[2] if name.count(".") == Kind.PREFIXED else name


def routing_keys(name: str) -> tuple[str, ...]:
    """The routing keys whose events come under this name, of a public or prefixed stream (contract section 3)."""
    if name.count(".") == Kind.PREFIXED:
        return (name,)
    return (f"public.{name}", name) if name.startswith("global.") else (f"public.{name}",)


def with_snapshot(name: str) -> tuple[str, ...]:
    """A stream, and with an `-inc` the `-snap` that belongs to it."""
    return (name, f"{name.removesuffix('-inc')}-snap") if name.endswith("-inc") else (name,)
