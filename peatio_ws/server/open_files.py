"""The limit of open files of a worker: how many it may need, and how a gateway raises its limit at the start."""

from __future__ import annotations

import contextlib
import resource
from typing import Final

EXTRA_FILES: Final = 300
"""Files that a worker may need besides its connections: refused connections, broker, Redis, logs, metrics."""
ENDLESS: Final = 2**63
"""Greater than each limit."""


def needed(max_connections: int) -> int:
    """Return how many open files a worker with this many connections may need."""
    return max_connections + EXTRA_FILES


def limits() -> tuple[int, int]:
    """Return the soft and the hard limit of open files of this process. `ENDLESS` is no limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _number(soft), _number(hard)


def allow(files: int) -> None:
    """Raise the soft limit of this process, which its children inherit, to `files`, or to the hard limit if that is
    lower. Does nothing if the soft limit suffices.
    """
    soft, hard = limits()
    wanted = min(files, hard)
    if soft < wanted:
        unchanged = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        with contextlib.suppress(ValueError, OSError):  # macOS refuses more than OPEN_MAX, whatever the hard limit is
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, unchanged))


def _number(limit: int) -> int:
    return ENDLESS if limit == resource.RLIM_INFINITY else limit
