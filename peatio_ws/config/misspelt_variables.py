"""Finds variables that look like a misspelt setting, which the gateway would silently ignore.

Pure. Only near misses count, because a container has many variables of other programs whose names begin like the
gateway's (`REDIS_PORT_6379_TCP_ADDR` of Kubernetes, `RABBITMQ_DEFAULT_USER` of RabbitMQ's image).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

from pydantic import AliasChoices

from peatio_ws.config.settings import Settings

ALIKE: Final = 0.87
"""Minimum similarity of two names, from 0 to 1 (`difflib.SequenceMatcher.ratio`). Two swapped letters in `AMQP_URL`
give 0.875."""
MOST_EDITS: Final = 2
"""Maximum number of letters added, removed or replaced: `RABBITMQ_URL` is not a misspelt `RABBITMQ_USER`."""

FAMILY: Final = "RANGO_RBAC_"
"""Prefix of the variables with the roles of prefixed streams."""
_OTHERS: Final = (
    *"JWT_PUBLIC_KEY JWT_PUBLIC_KEYS JWT_PRIVATE_KEY PROMETHEUS_MULTIPROC_DIR".split(),
    *"RABBITMQ_HOST RABBITMQ_PORT RABBITMQ_USER RABBITMQ_PASSWORD RABBITMQ_VHOST".split(),
)
"""Variables that are not fields of `Settings` (`variables.py`), or are read elsewhere."""


def _known() -> frozenset[str]:
    """Return all variables that the gateway reads, except families of variables."""
    names = {
        str(choice)
        for field in Settings.model_fields.values()
        if isinstance(field.validation_alias, AliasChoices)
        for choice in field.validation_alias.choices
    }
    return frozenset(names.union(_OTHERS))


KNOWN: Final = _known()


def near_misses(names: Iterable[str]) -> dict[str, str]:
    """Return the names that are probably misspelt, each with the variable that is probably meant."""
    found = {name: _nearest(name) for name in sorted(names) if name not in KNOWN and not name.startswith(FAMILY)}
    return {name: meant for name, meant in found.items() if meant is not None}


def _nearest(name: str) -> str | None:
    given, parts = name.upper(), name.upper().split("_", 2)
    # A family has no list of names, so the rest of the name counts as right.
    names = [*KNOWN, FAMILY + parts[2]] if len(parts) == 3 else list(KNOWN)
    for meant in difflib.get_close_matches(given, names, n=3, cutoff=ALIKE):
        if _edits(given, meant) <= MOST_EDITS:
            return meant
    return None


def _edits(given: str, meant: str) -> int:
    codes = difflib.SequenceMatcher(None, given, meant, autojunk=False).get_opcodes()
    return sum(max(end - start, to - at) for kind, start, end, at, to in codes if kind != "equal")
