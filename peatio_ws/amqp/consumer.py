"""The consumer loop: reads a source in batches for as long as the worker lives.

A worker has two consumers with separate connections, so that private events never wait behind public ones.

Does not know the router: callers pass a function for each delivery and one for the end of each batch.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import time
from collections.abc import Callable
from typing import Any, Final

import gevent
import structlog
from kombu import Connection

from peatio_ws.amqp.connection import CONNECT_TIMEOUT, connection_errors, describe_error, open_connection, shown_url
from peatio_ws.amqp.read_pacing import ReadPacing
from peatio_ws.amqp.source import Reopen, Restored, SourceRefused, Sources, SourceUnavailable
from peatio_ws.amqp.topology import is_missing_canary
from peatio_ws.concurrency.backoff import BROKER_PAUSES, Backoff

log = structlog.get_logger("peatio_ws.amqp.consumer")

CHECK_SECONDS: Final = 1.0
"""Interval of heartbeats, and of the checks of the source."""
STABLE_SECONDS: Final = 5.0
"""A source that was read for this long is opened again without a pause."""
RETRY_SECONDS: Final = 15.0
"""Approximate interval between trials of a refused source."""


TRIAL_SECONDS: Final = 40.0
"""Time limit of a trial."""


class Consumer:
    """Reads a source for as long as the worker lives.

    Args:
        sources: see `Sources`.
        urls: brokers, tried in turn.
        flush: called at the end of each batch; returns whether there was anything to send.
        on_status: called with True when the source is being read, and with False when it no longer is.
        on_sent: called after a batch with something to send, with the seconds since it was read.
    """

    def __init__(
        self,
        sources: Sources,
        urls: tuple[str, ...],
        flush: Callable[[], bool],
        on_status: Callable[[bool], None],
        on_sent: Callable[[float], None],
    ) -> None:
        self._sources, self._urls, self._flush, self._on_status, self._on_sent = (
            sources,
            urls,
            flush,
            on_status,
            on_sent,
        )
        self._stopped = False
        self._connected = False
        self._connected_at = 0.0
        self._transport: Any = None  # of the current or last connection
        self._try_again_at = 0.0
        self._trial: gevent.Greenlet[Any, str | None] | None = None  # returns the broker for `Restored`
        self._is_reading = False
        self._replacement_lost_at: float | None = None  # None if nothing was read from it
        self._reachable: set[str] = set()  # brokers that were connected when they were last tried

    @property
    def connected(self) -> bool:
        """Whether the source is open. Older events may still be missing."""
        return self._connected

    def behind(self) -> float:
        """Return for how many seconds each read has left bytes unread; 0 if nothing waits to be read."""
        transport = self._transport
        if not self._connected or getattr(transport, "drained", True):
            return 0.0
        return float(time.monotonic() - transport.level_at)

    def stop(self) -> None:
        """Make `run` close the connection and return, within a second or when its greenlet is killed."""
        self._stopped = True

    def run(self) -> None:
        """Read until `stop`. If the broker is lost or refuses, log it once, and retry with growing pauses."""
        urls, backoff, lost = itertools.cycle(self._urls), Backoff(*BROKER_PAUSES), False
        url = next(urls)
        while not self._stopped:
            try:
                self._read(url)
            except SourceRefused as refused:
                self._on_lost()
                self._replace(refused, url)
            except connection_errors(url) as error:
                steady = self._connected and time.monotonic() - self._connected_at > STABLE_SECONDS
                again = steady and (isinstance(error, Reopen) or is_missing_canary(error))
                if self._connected or not lost:
                    backoff.reset()
                    self._log(error, url)
                else:
                    log.debug("broker still not connected", broker=shown_url(url), error=describe_error(error))
                lost = True
                self._on_lost()
                if isinstance(error, Restored):
                    self._restore()
                if not again:
                    with contextlib.suppress(ConnectionError, SourceRefused):  # a late error of the heartbeat greenlet
                        gevent.sleep(backoff.next_pause())
                    url = next(urls)
                if isinstance(error, Restored):
                    url = error.broker
                self._restore_preferred()
            except Exception:  # a bug: supervision logs it, and restarts the reader after a pause
                self._on_lost()
                raise

    def _log(self, error: Exception, url: str) -> None:
        events, broker = self._sources.name, shown_url(url)
        if is_missing_canary(error):
            log.warning("exchange was deleted and declared again; binding to it again", events=events, broker=broker)
        elif isinstance(error, Restored):
            log.debug("opening the preferred source", events=events, broker=broker)
        elif isinstance(error, Reopen):
            log.warning("reopening the source", events=events, broker=broker, error=describe_error(error))
        elif self._connected_at:
            log.warning("broker connection lost; retrying", events=events, broker=broker, error=describe_error(error))
        else:
            hint = "`peatio-ws check` tests it"
            event = "cannot read from the broker; retrying"
            log.warning(event, events=events, broker=broker, error=describe_error(error), hint=hint)

    def _on_lost(self) -> None:
        if self._connected or self._is_reading:
            self._connected = self._is_reading = False
            if self._sources.replaced:
                self._replacement_lost_at = time.monotonic()
            self._on_status(False)
            self._try_again_at = min(
                self._try_again_at, time.monotonic() + CHECK_SECONDS
            )  # the next broker may accept the source

    def _on_read(self) -> None:
        self._is_reading = True
        self._on_status(True)

    def _replace(self, refused: SourceRefused, url: str) -> None:
        """Read the other source. Raises `refused`, which ends the greenlet, if there is no other source."""
        self._sources.replace(refused)
        self._replacement_lost_at = None
        self._delay_next_trial()
        log.debug("source replaced", broker=shown_url(url), refusal=refused.refusal.name, detail=refused.detail)

    def _read(self, url: str) -> None:
        """Open a connection, and read from it until it ends."""
        connection, source = open_connection(url), self._sources.current
        self._reachable.discard(url)
        try:
            with gevent.Timeout(CONNECT_TIMEOUT, TimeoutError(f"no answer within {CONNECT_TIMEOUT:g} s")):
                connection.connect()
                connection.default_channel.auto_decode = False
            self._reachable.add(url)
            source.open(connection, self._on_read)
            log.info("receiving from the broker", events=source.name, broker=shown_url(url))
            self._connected, self._connected_at = True, time.monotonic()
            self._drain(connection, url)
        finally:
            if self._stopped:
                with contextlib.suppress(Exception), gevent.Timeout(1, TimeoutError):
                    connection.close()
            # Otherwise no close(), which waits for the broker, and the broker may be frozen.
            connection.collect()
            source.closed(unreachable=not self._reachable)

    def _drain(self, connection: Connection, url: str) -> None:
        """Read and deliver batches until the connection breaks."""
        heart = gevent.spawn(self._send_heartbeats, connection, gevent.getcurrent(), url)
        try:
            pacing, source, line = ReadPacing(), self._sources.current, connection.connection
            self._transport = transport = getattr(line, "transport", None)
            # Not kombu's, where it only calls py-amqp's: that looks up the connection by six calls, and may make one.
            drain = line.drain_events if transport is not None else connection.drain_events
            self._flush()  # deliveries that arrived together with the broker's last answer
            source.after_batch()
            while True:
                drain()
                if self._flush() and transport is not None:
                    self._on_sent(time.monotonic() - transport.read_at)
                source.after_batch()
                pacing.pause(line)
        finally:
            heart.kill()

    def _send_heartbeats(self, connection: Connection, reader: Any, url: str) -> None:
        """Send heartbeats, and end a connection on which none arrive.

        A loop that sends heartbeats only when idle would be disconnected by RabbitMQ under steady traffic.
        """
        source = self._sources.current
        while connection.heartbeat:
            gevent.sleep(CHECK_SECONDS)
            try:
                connection.heartbeat_check()
                source.check()
                self._try_preferred(url)
            except (SourceRefused, SourceUnavailable, Reopen) as error:
                _interrupt(reader, error)
            except Exception as error:  # any error: without heartbeats the connection is lost
                _interrupt(reader, ConnectionError(describe_error(error)))

    def _try_preferred(self, url: str) -> None:
        """Try from time to time whether the refused source can be read. Raises Reopen if it can."""
        if self._trial is None:
            if self._sources.replaced and time.monotonic() > self._try_again_at:
                self._sources.trial(True)
                self._trial = gevent.spawn(self._prepare_at_any, url)
        elif self._trial.ready():
            if self._trial.value:
                # The reader restores it when it has ended: until then it reads the other source.
                raise Restored(self._trial.value)
            self._trial = None
            self._sources.trial(False)
            self._delay_next_trial()

    def _restore(self) -> None:
        self._trial = None
        self._sources.restore()

    def _restore_preferred(self) -> None:
        """Return to the preferred source if the other source fails, too."""
        if self._sources.replaced and not self._connected and time.monotonic() > self._try_again_at + RETRY_SECONDS:
            if self._trial is not None:
                self._trial.kill(block=False)
                self._sources.trial(False)
            if self._replacement_lost_at is not None:
                # It was not prepared, and would begin with events that came from the other source.
                self._sources.preferred.skip(time.monotonic() - self._replacement_lost_at)
            self._restore()
            self._delay_next_trial()

    def _prepare_at_any(self, url: str) -> str | None:
        """Return the first broker at which the refused source can be read now; None if there is none.

        Args:
            url: the broker to try first.
        """
        return next(filter(self._prepare, dict.fromkeys((url, *self._urls))), None)

    def _prepare(self, url: str) -> bool:
        connection = open_connection(url)
        try:
            with gevent.Timeout(TRIAL_SECONDS, TimeoutError(f"no answer within {TRIAL_SECONDS:g} s")):
                connection.connect()
                self._sources.preferred.prepare(connection)
        except SourceRefused as refused:
            log.debug("source still refused", broker=shown_url(url), refusal=refused.refusal.name)
            return False
        except connection_errors(url) as error:
            log.debug("source still unavailable", broker=shown_url(url), error=describe_error(error))
            return False
        finally:
            connection.collect()
        return True

    def _delay_next_trial(self) -> None:
        self._try_again_at = time.monotonic() + RETRY_SECONDS * random.uniform(0.7, 1.3)


def _interrupt(reader: Any, error: Exception) -> None:
    """Raise an error in the reader until it ends, because its current call may swallow the first one.

    The reader then kills this greenlet.
    """
    while True:
        gevent.kill(reader, error)
        gevent.sleep(CHECK_SECONDS)
