"""Which sources a worker reads, by its settings, and which routing keys it binds for its clients on demand.

Knows the routing keys of streams and members; does not know clients.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from peatio_ws.amqp.history_stream.source import StreamSource
from peatio_ws.amqp.on_demand_bindings import OnDemandBindings
from peatio_ws.amqp.queue_source import QueueSource
from peatio_ws.amqp.source import Source
from peatio_ws.amqp.topology import CLASSIC, PRIVATE, every_public, public
from peatio_ws.config.settings import Settings
from peatio_ws.protocol.exchanges import RANGER, Delivery
from peatio_ws.protocol.stream_syntax import Kind, kind_of, routing_keys, with_snapshot
from peatio_ws.protocol.view_names import published_stream
from peatio_ws.routing.trade_history import MOST_SECONDS

MAX_MEMBER_KEYS: Final = 20_000
MAX_STREAM_KEYS: Final = 1_000
"""Up to this number, members and streams are bound one by one; beyond it, the worker reads the events of all."""

KEPT_SECONDS: Final = MOST_SECONDS
"""How long a stream of trades stays bound after a client with marks has left. It can ask for what it missed so long."""

Handle = Callable[[Delivery], None]


class ClientInterest:
    """What the clients of a worker need from the broker.

    Attributes:
        members: routing keys of members; None if the events of all members are read anyway.
        streams: routing keys of public and prefixed streams; None if all are read anyway.

    Args:
        on_lost: called with a public stream of which the worker may miss events from now on.
    """

    def __init__(self, settings: Settings, on_lost: Callable[[str], None] = lambda _: None) -> None:
        # The in-process broker cannot bind on demand; a history needs the events of all members.
        by_member = settings.history == "off" and not settings.embedded
        by_stream = bool(settings.books) and not settings.embedded
        self.members = OnDemandBindings(RANGER, ("private.#",), MAX_MEMBER_KEYS) if by_member else None
        self.streams = OnDemandBindings(RANGER, every_public(settings.roles), MAX_STREAM_KEYS) if by_stream else None
        self._on_lost = on_lost
        self._kept: dict[str, float] = {}  # streams without a client, and until when they stay bound
        self._book_names = tuple(f"{name}-inc" for name in settings.books)

    def acquire_streams(self, names: Iterable[str]) -> None:
        """A client subscribes to public or prefixed streams. Wait until the broker sends them, if necessary.

        The caller has to release all of them, even if the wait is interrupted.
        """
        if self.streams is not None:
            self.streams.acquire([key for name in names for key in self._keys(name)])

    def release_stream(self, name: str) -> None:
        """A client unsubscribes from it."""
        if self.streams is not None:
            self.streams.release(self._keys(name))

    def keep_stream(self, name: str) -> None:
        """Keep a stream bound for `KEPT_SECONDS` more. To be called before its last client unsubscribes."""
        kept, self._kept[name] = name in self._kept, time.monotonic() + KEPT_SECONDS
        if not kept:
            self.acquire_streams([name])  # may wait, so another client may leave the stream meanwhile

    def acquire_member(self, uid: str) -> None:
        """A member authenticates. Wait until the broker sends its events, if necessary."""
        if self.members is not None:
            self.members.acquire((f"private.{uid}.#",))

    def release_member(self, uid: str) -> None:
        """A connection of the member is closed."""
        if self.members is not None:
            self.members.release((f"private.{uid}.#",))

    def sweep(self) -> None:
        """Unbind what no client needs any more. Call it about once a second."""
        now = time.monotonic()
        for name in [name for name, until in self._kept.items() if now > until]:
            del self._kept[name]
            self.release_stream(name)
        if self.members is not None:
            self.members.sweep(now)
        if self.streams is not None:
            for key in self.streams.sweep(now):
                self._on_lost(key.removeprefix("public."))

    def _keys(self, name: str) -> list[str]:
        stream = published_stream(name)
        if kind_of(stream) is Kind.PRIVATE or stream.rpartition(".")[2] in self._book_names:
            return []  # private streams: bound in any case
        return [key for half in with_snapshot(stream) for key in routing_keys(half)]


def private_sources(
    settings: Settings,
    interest: ClientInterest,
    handle: Handle,
    on_gap: Callable[[], None],
    marker_headers: Callable[[], Mapping[str, str]],
) -> tuple[Source, Source | None]:
    """Return the source of private events, and the one to read while the broker refuses the first.

    Args:
        marker_headers: returns the headers for the next marker in the history stream.
    """
    bindings = PRIVATE if interest.members is None else CLASSIC
    queue = QueueSource("private", settings.amqp_durable, bindings, handle, interest.members)
    if settings.history != "stream" or settings.embedded:
        return queue, None
    name, durable, seconds = settings.history_queue, settings.amqp_durable, settings.history_seconds
    return StreamSource(name, durable, seconds, handle, on_gap, marker_headers), queue


def public_source(settings: Settings, interest: ClientInterest, handle: Handle) -> Source:
    """Return the source of public and prefixed events."""
    bindings = public(settings.roles, settings.books if interest.streams is not None else ())
    return QueueSource("public", settings.amqp_durable, bindings, handle, interest.streams)
