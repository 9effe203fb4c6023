"""Finds variables that look like a misspelt setting, which the gateway would silently ignore.

Pure. Only near misses count, because a container has many variables of other programs whose names begin like the
gateway's (`REDIS_PORT_6379_TCP_ADDR` of Kubernetes, `RABBITMQ_DEFAULT_USER` of RabbitMQ's image).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

from peatio_ws.config.settings import NAMES
from peatio_ws.config.variables import RBAC

ALIKE: Final = 0.87
"""Minimum similarity of two names, from 0 to 1 (`difflib.SequenceMatcher.ratio`). Two swapped letters in `AMQP_URL`
give 0.875."""
MOST_EDITS: Final = 2
"""Maximum number of letters added, removed or replaced: `RABBITMQ_URL` is not a misspelt `RABBITMQ_USER`."""

KNOWN: Final = NAMES | {"JWT_PRIVATE_KEY", "PROMETHEUS_MULTIPROC_DIR"}
"""The variables that are read anywhere, except the family of `RBAC`."""


def near_misses(names: Iterable[str]) -> dict[str, str]:
    """Return the names that are probably misspelt, each with the variable that is probably meant."""
    found = {name: _nearest(name) for name in sorted(names) if name not in KNOWN and not name.startswith(RBAC)}
    return {name: meant for name, meant in found.items() if meant is not None}


def _nearest(name: str) -> str | None:
    given, parts = name.upper(), name.upper().split("_", 2)
    # A family has no list of names, so the rest of the name counts as right.
    names = [*KNOWN, RBAC + parts[2]] if len(parts) == 3 else list(KNOWN)
    for meant in difflib.get_close_matches(given, names, n=3, cutoff=ALIKE):
        if _edits(given, meant) <= MOST_EDITS:
            return meant
    return None


def _edits(given: str, meant: str) -> int:
    codes = difflib.SequenceMatcher(None, given, meant, autojunk=False).get_opcodes()
    return sum(max(end - start, to - at) for kind, start, end, at, to in codes if kind != "equal")
