"""A small Sentry: an HTTP server on loopback that receives the events of Sentry's SDK."""

from __future__ import annotations

import json
from typing import Any

from tests.support.http_sink import HttpSink


class Sentry(HttpSink):
    """Receives envelopes, and keeps their events."""

    @property
    def dsn(self) -> str:
        """Return the address for `sentry_sdk.init`."""
        return f"http://key@127.0.0.1:{self.port}/1"

    def events(self) -> list[dict[str, Any]]:
        """Return the events received so far."""
        return [event for one in list(self.posted) for event in _events_in(one.body)]


def _events_in(envelope: bytes) -> list[dict[str, Any]]:
    """Return the events of an envelope: a line of headers, then a line of headers and the payload of each item."""
    _, _, rest = envelope.partition(b"\n")
    events = []
    while rest:
        line, _, rest = rest.partition(b"\n")
        header = json.loads(line)
        payload, rest = rest[: header["length"]], rest[header["length"] + 1 :]
        if header["type"] == "event":
            events.append(json.loads(payload))
    return events
