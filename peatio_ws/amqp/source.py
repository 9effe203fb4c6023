"""The interface of a source that a consumer reads, and the exceptions that make it leave a source.

Does not know kombu, or the meaning of events.

    StreamSource   the history stream in RabbitMQ, which all workers read (`history_stream/source.py`)
    QueueSource    a queue of one worker, on RabbitMQ or on the in-process broker (`queue_source.py`)

A source never changes into another one. If the broker refuses a source, it raises `SourceRefused`. The consumer then
reads the other source of its `Sources`, and tries the refused one again after a while.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Protocol

from peatio_ws.amqp.source_state import SOURCE, SourceInput, SourceState

Connect = Callable[[], Any]
"""Makes another kombu connection to the same broker, which is not yet connected."""


class Refusal(enum.Enum):
    """Why the broker refuses the history stream, with the remedy."""

    TOO_OLD = "RabbitMQ supports streams from version 3.9; upgrade it"
    NO_STREAMS = "this broker does not support streams, or they are disabled (feature flag stream_queue)"
    NOT_ALLOWED = "allow its user to configure, write and read the stream, and to write to the exchange amq.default"
    OTHER_ARGUMENTS = "a queue of this name with other arguments exists; delete it, or set AMQP_HISTORY_QUEUE"
    NOT_A_STREAM = "a queue of this name exists that is not a stream; delete it, or set AMQP_HISTORY_QUEUE"
    NO_REPLICA = "this node of the cluster has no replica of the stream; add one (rabbitmq-streams add_replica)"
    UNAVAILABLE = "the broker cannot open the stream or write to it; is the node with its replica down?"


class SourceRefused(Exception):
    """The broker refuses to let this worker read the source.

    Args:
        refusal: the reason.
        detail: the broker's text, for the log.
    """

    def __init__(self, refusal: Refusal, detail: str = "") -> None:
        super().__init__(refusal.value)
        self.refusal, self.detail, self.remedy = refusal, detail, refusal.value


class SourceUnavailable(ConnectionError):
    """The source cannot be read for the moment. The consumer retries.

    Args:
        text: what happened.
        answered: whether the broker answered, rather than staying silent.
        refusal: the reason to report if the source stays unavailable.
    """

    def __init__(self, text: str, answered: bool, refusal: Refusal = Refusal.UNAVAILABLE) -> None:
        super().__init__(text)
        self.answered, self.refusal = answered, refusal


class Reopen(ConnectionError):
    """The connection works, but its data cannot be used. The consumer opens the source again at once."""


class Restored(Reopen):
    """The refused source can be read again.

    Args:
        broker: URL of the broker at which it can be read.
    """

    def __init__(self, broker: str) -> None:
        super().__init__()
        self.broker = broker


class Source(Protocol):
    """A source of deliveries: which queue to read, and how.

    Attributes:
        name: of the events, for people and metrics: `private` or `public`.
    """

    name: str

    def open(self, connection: Any, on_read: Callable[[], None]) -> None:
        """Declare and consume on a new connection. Called in the reader's greenlet. Limits its own waiting.

        Args:
            on_read: called once the source receives everything that is published from then on.

        Raises:
            SourceRefused, SourceUnavailable, and what kombu and py-amqp raise.
        """

    def prepare(self, connection: Any) -> None:
        """Check over a separate connection whether a refused source can be read now.

        If it can, `open` continues from here. Called while another source is read.

        Raises:
            SourceRefused, SourceUnavailable, and what kombu and py-amqp raise.
        """

    def skip(self, seconds: float) -> None:
        """Let `open` continue from this many seconds ago, because another source was read until then."""

    def after_batch(self) -> None:
        """Called after each batch, in the reader's greenlet. Raises Reopen."""

    def check(self) -> None:
        """Check the open source. Called about once a second from another greenlet; never waits for an answer.

        Raises:
            Reopen, SourceRefused.
            SourceUnavailable: this broker cannot be used; another one may be.
        """

    def closed(self, unreachable: bool) -> None:
        """Handle the end of the connection.

        Args:
            unreachable: whether none of the brokers could be connected when it was last tried.
        """

    def has_read_up_to(self, moment: float) -> bool:
        """Return whether everything published up to this monotonic time has been read.

        If that is unknown, start to find out. Never waits.
        """

    def lag(self) -> float:
        """Return the seconds from an event's arrival at the broker to its arrival here; 0 if unknown."""


class SourceObserver(Protocol):
    """Is notified when a consumer changes its source."""

    def on_source(self, refused: SourceRefused | None) -> None:
        """Handle a change of the source. The events of the new source do not continue those of the old one.

        Args:
            refused: why the preferred source is no longer read; None if it is read again.
        """

    def on_trial(self, running: bool) -> None:
        """Handle the start of a trial of the refused source, or its failure."""


class Sources:
    """The preferred source of a consumer, and a fallback to read while the broker refuses it.

    Args:
        preferred: read unless the broker refuses it.
        fallback: read while the broker refuses the preferred source; None if there is no other source.
        observer: notified of changes.

    Attributes:
        state: which source is read; see `source_state.py`.
    """

    def __init__(
        self, preferred: Source, fallback: Source | None = None, observer: SourceObserver | None = None
    ) -> None:
        self.preferred, self._fallback, self._observer = preferred, fallback, observer
        self.state = SourceState.PREFERRED

    @property
    def current(self) -> Source:
        """The source that is read."""
        return self.preferred if self._fallback is None or not self.replaced else self._fallback

    @property
    def name(self) -> str:
        """See `Source.name`."""
        return self.preferred.name

    @property
    def replaced(self) -> bool:
        """Whether the fallback is read instead of the preferred source."""
        return self.state is not SourceState.PREFERRED

    def replace(self, refused: SourceRefused) -> None:
        """Read the fallback from now on. Raises `refused` if there is none."""
        if self._fallback is None or self.replaced:
            raise refused
        self.state = SOURCE[self.state, SourceInput.REFUSE]
        if self._observer is not None:
            self._observer.on_source(refused)

    def restore(self) -> None:
        """Read the preferred source again."""
        self.state = SOURCE[self.state, SourceInput.RESTORE]
        if self._observer is not None:
            self._observer.on_source(None)

    def trial(self, running: bool) -> None:
        """Record that a trial of the preferred source begins or has failed; see `SourceObserver.on_trial`."""
        self.state = SOURCE[self.state, SourceInput.TRY if running else SourceInput.FAIL]
        if self._observer is not None:
            self._observer.on_trial(running)

    def has_read_up_to(self, moment: float) -> bool:
        """See `Source.has_read_up_to`."""
        return self.current.has_read_up_to(moment)

    def lag(self) -> float:
        """See `Source.lag`."""
        return self.current.lag()
