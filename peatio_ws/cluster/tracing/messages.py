"""What workers report for an operator's trace, as JSON messages on a channel of their own for each trace.

Pure. `server/tracing/` makes the messages; `reader.py` reads them. docs/operator-api.md describes the lines.

Theory of operation. The operator subscribes to the channel, then sends a `TraceCommand`, and repeats it every
`RENEW_SECONDS`. A worker that receives none for `LEASE_SECONDS` ends the trace, so nothing has to be undone if the
operator's process dies; and a worker that starts later joins with the next command. Each message says which lines it
has, so that the reader drops those that it has already, and counts those that are missing. A worker sends a message
every `HEARTBEAT_SECONDS` even without lines.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from peatio_ws.cluster.commands import WorkerId

RENEW_SECONDS: Final = 3.0
LEASE_SECONDS: Final = 12.0
HEARTBEAT_SECONDS: Final = 3.0
MOST_SECONDS: Final = 3600
"""Longest trace."""
MOST_TRACES: Final = 8
"""Traces of a worker at a time."""


class TraceMessage(msgspec.Struct, frozen=True):
    """Lines of one worker.

    Attributes:
        run: a random text, the same for as long as the worker traces without interruption.
        first: number of the first line, from 0 in each run.
        lines: JSON objects.
        last: whether the worker has ended the trace.
    """

    place: WorkerId
    run: str
    first: int
    lines: list[msgspec.Raw] = []
    last: bool = False


_messages = msgspec.json.Decoder(TraceMessage)


def read_message(data: bytes) -> TraceMessage | None:
    """Decode a message on the channel of a trace; None for any other data."""
    try:
        return _messages.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def line(kind: str, at: float, **fields: Any) -> dict[str, Any]:
    """Return a line of a trace.

    Args:
        at: Unix time in seconds.
    """
    return {"kind": kind, "at": iso_time(at), **fields}


def iso_time(seconds: float) -> str:
    """Return a time in Unix seconds as ISO 8601 in UTC, with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
