"""What a consumer reads from: the interface that every source implements, and why a source is left.

Knows kombu's connection by name only; knows nothing of what the events mean.

    StreamSource   the history stream of RabbitMQ, which all workers read (`stream_source.py`)
    QueueSource    a queue of one worker, on RabbitMQ or on the in-process broker (`queue_source.py`)

A source never changes into another one. Where the broker refuses a source, it raises `SourceRefused`; the consumer then
reads the next source of its `Sources`, and tries the refused one again after a while.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Protocol

from peatio_ws.amqp.source_state import SOURCE, SourceInput, SourceState

Connect = Callable[[], Any]
"""Makes another kombu connection to the same broker; it is not connected yet."""


class Refusal(enum.Enum):
    """Why the broker does not let a worker read the history stream, and what an operator can do about it."""

    TOO_OLD = "RabbitMQ has streams since 3.9; upgrade it"
    NO_STREAMS = "this broker does not know streams, or has them switched off (feature flag stream_queue)"
    NOT_ALLOWED = (
        "its user has to be allowed to configure, write and read the stream and to write to the exchange amq.default"
    )
    OTHER_ARGUMENTS = "a queue of this name with other arguments is there; delete it, or set AMQP_HISTORY_QUEUE"
    NOT_A_STREAM = "a queue of this name is there that is no stream; delete it, or set AMQP_HISTORY_QUEUE"
    NO_REPLICA = "this node of the cluster has no replica of the stream; add one (rabbitmq-streams add_replica)"
    UNAVAILABLE = "the broker has the stream, but cannot open it or write to it; is the node with its replica down?"


class SourceRefused(Exception):
    """The broker answers, and does not let this worker read the source.

    Args:
        refusal: why.
        detail: what the broker said, for the log.
    """

    def __init__(self, refusal: Refusal, detail: str = "") -> None:
        super().__init__(refusal.value)
        self.refusal, self.detail, self.remedy = refusal, detail, refusal.value


class SourceUnavailable(ConnectionError):
    """The source is there and cannot be read for the moment; to be tried again.

    Args:
        text: what happened.
        answered: whether the broker said so, instead of saying nothing.
        refusal: what to call it if it stays so.
    """

    def __init__(self, text: str, answered: bool, refusal: Refusal = Refusal.UNAVAILABLE) -> None:
        super().__init__(text)
        self.answered, self.refusal = answered, refusal


class Reopen(ConnectionError):
    """The connection is sound, but what is read from it is not; to be opened again at once."""


class Restored(Reopen):
    """A source that was refused can be read again."""


class Source(Protocol):
    """What a consumer reads: which queue, and how.

    Attributes:
        name: of the events, for people and metrics: `private` or `public`.
    """

    name: str

    def open(self, connection: Any, on_read: Callable[[], None]) -> None:
        """Declare and consume on a new connection. Called in the reader's greenlet; bounds its own waiting.

        Args:
            on_read: called once everything published from then on will come.

        Raises:
            SourceRefused, SourceUnavailable, and what kombu and py-amqp raise.
        """

    def prepare(self, connection: Any) -> None:
        """Find out, over a connection made for this, whether a source that was refused can be read now, and make `open`
        go on from here. Called while another source is read.

        Raises:
            SourceRefused, SourceUnavailable, and what kombu and py-amqp raise.
        """

    def after_batch(self) -> None:
        """Called after each batch, in the reader's greenlet. Raises Reopen."""

    def check(self) -> None:
        """Called about once a second from another greenlet while the source is open; never waits for an answer.

        Raises:
            Reopen, SourceRefused.
        """

    def closed(self, unreachable: bool) -> None:
        """The connection has ended.

        Args:
            unreachable: whether it had never been established.
        """

    def has_read_up_to(self, moment: float) -> bool:
        """Whether everything published up to this monotonic time has come. Finds out if that is not known; never
        waits."""

    def lag(self) -> float:
        """Seconds between an event's arrival at the broker and here, as far as that is known; else 0."""


class SourceObserver(Protocol):
    """Is notified when a consumer changes its source."""

    def on_source(self, refused: SourceRefused | None) -> None:
        """From now on another source is read. Its events do not follow those there were.

        Args:
            refused: why the preferred one is not read any more; None if it is read again.
        """

    def on_trial(self, running: bool) -> None:
        """The refused source is being tried beside the one that is read, or that has failed."""


class Sources:
    """The source that a consumer reads, and another one to read while the broker refuses that.

    Args:
        preferred: read whenever the broker lets us.
        fallback: read while it does not; None if there is nothing else to read.
        observer: notified of changes.

    Attributes:
        state: which of them is read, see `source_state.py`.
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
        """Whether another source is read instead of the preferred one."""
        return self.state is not SourceState.PREFERRED

    def replace(self, refused: SourceRefused) -> None:
        """Read the other source from now on. Raises `refused` if there is none."""
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
        """A trial of the preferred source begins, or has failed; see `SourceObserver.on_trial`."""
        self.state = SOURCE[self.state, SourceInput.TRY if running else SourceInput.FAIL]
        if self._observer is not None:
            self._observer.on_trial(running)

    def has_read_up_to(self, moment: float) -> bool:
        """See `Source.has_read_up_to`."""
        return self.current.has_read_up_to(moment)

    def lag(self) -> float:
        """See `Source.lag`."""
        return self.current.lag()
