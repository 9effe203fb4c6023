"""The kombu loop: a source, read in batches, for as long as the worker lives.

A worker has two of them, on connections of their own, so that private events never wait behind public ones.

Does not know the router: it is given a function for each delivery and one for the end of each batch.
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
from peatio_ws.amqp.source import Reopen, Restored, SourceRefused, Sources
from peatio_ws.amqp.topology import is_missing_canary
from peatio_ws.concurrency.backoff import BROKER_PAUSES, Backoff

log = structlog.get_logger("peatio_ws.amqp.consumer")

CHECK_SECONDS: Final = 1.0
"""How often heartbeats are looked after, and the source looks whether all is well."""
STABLE_SECONDS: Final = 5.0
"""A source that was read for so long is opened again without a pause."""
RETRY_SECONDS: Final = 15.0
"""How often a source that was refused is tried again, about."""


TRIAL_SECONDS: Final = 40.0
"""How long a trial may take in all."""


class Consumer:
    """Reads a source for as long as the worker lives.

    Args:
        sources: see `Sources`.
        urls: brokers, tried in turn.
        flush: called at the end of each batch; whether there was anything to send.
        on_status: called with True once the source is read, with False when it is not any more.
        on_sent: called after a batch with something to send: the seconds since it was read.
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
        self._transport: Any = None  # of the connection there is, or was
        self._try_again_at = 0.0
        self._trial: gevent.Greenlet[Any, bool] | None = None
        self._is_reading = False

    @property
    def connected(self) -> bool:
        """Whether the source is open, though not all of it may have come yet."""
        return self._connected

    def behind(self) -> float:
        """For how many seconds each read has found more than it could take; 0 while nothing waits to be read."""
        transport = self._transport
        if not self._connected or getattr(transport, "drained", True):
            return 0.0
        return float(time.monotonic() - transport.level_at)

    def stop(self) -> None:
        """Make `run` close the connection as it returns: within a second, or when its greenlet is killed."""
        self._stopped = True

    def run(self) -> None:
        """Read until `stop`. A broker that is lost, or refuses, is tried again with growing pauses, and logged once."""
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
                if not again:
                    with contextlib.suppress(ConnectionError, SourceRefused):  # what was thrown at it as it failed
                        gevent.sleep(backoff.next_pause())
                    url = next(urls)
                self._restore_preferred()

    def _log(self, error: Exception, url: str) -> None:
        events, broker = self._sources.name, shown_url(url)
        if is_missing_canary(error):
            log.warning("an exchange was deleted and declared again; binding to it again", events=events, broker=broker)
        elif isinstance(error, Restored):
            log.debug("opening the preferred source", events=events, broker=broker)
        elif isinstance(error, Reopen):
            log.warning("opening the events again", events=events, broker=broker, error=describe_error(error))
        else:
            log.warning("broker connection lost; retrying", events=events, broker=broker, error=describe_error(error))

    def _on_lost(self) -> None:
        if self._connected or self._is_reading:
            self._connected = self._is_reading = False
            self._on_status(False)
            self._try_again_at = min(self._try_again_at, time.monotonic() + CHECK_SECONDS)  # it may be another broker

    def _on_read(self) -> None:
        self._is_reading = True
        self._on_status(True)

    def _replace(self, refused: SourceRefused, url: str) -> None:
        """Read the other source. Raises `refused`, which ends the greenlet, if there is none."""
        self._sources.replace(refused)
        self._delay_next_trial()
        log.debug("source replaced", broker=shown_url(url), refusal=refused.refusal.name, detail=refused.detail)

    def _read(self, url: str) -> None:
        """One connection, from its opening to its end."""
        connection, source, unreachable = open_connection(url), self._sources.current, True
        try:
            with gevent.Timeout(CONNECT_TIMEOUT, TimeoutError(f"no answer within {CONNECT_TIMEOUT:g} s")):
                connection.connect()
                connection.default_channel.auto_decode = False
            unreachable = False
            source.open(connection, self._on_read)
            log.info("receiving from the broker", events=source.name, broker=shown_url(url))
            self._connected, self._connected_at = True, time.monotonic()
            self._drain(connection, url)
        finally:
            if self._stopped:
                with contextlib.suppress(Exception), gevent.Timeout(1, TimeoutError):
                    connection.close()
            # Else not close(): that waits for a broker which may be frozen.
            connection.collect()
            source.closed(unreachable)

    def _drain(self, connection: Connection, url: str) -> None:
        """Deliver what comes, batch by batch, until the connection breaks."""
        heart = gevent.spawn(self._send_heartbeats, connection, gevent.getcurrent(), url)
        try:
            pacing, source, line = ReadPacing(), self._sources.current, connection.connection
            self._transport = transport = getattr(line, "transport", None)
            # Not kombu's, where it only calls py-amqp's: that looks up the connection by six calls, and may make one.
            drain = line.drain_events if transport is not None else connection.drain_events
            self._flush()  # what came along with the broker's answer to the last question
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
        """Send heartbeats, and break off a connection that brings none. By the clock: a loop that looks for them only
        when it is idle is cut off by RabbitMQ under steady traffic."""
        source = self._sources.current
        while connection.heartbeat:
            gevent.sleep(CHECK_SECONDS)
            try:
                connection.heartbeat_check()
                source.check()
                self._try_preferred(url)
            except (SourceRefused, Reopen) as error:
                _interrupt(reader, error)
            except Exception as error:  # whatever it is: without heartbeats the connection is as good as lost
                _interrupt(reader, ConnectionError(describe_error(error)))

    def _try_preferred(self, url: str) -> None:
        """See from time to time whether the source that was refused can be read now; raises Reopen if so."""
        if self._trial is None:
            if self._sources.replaced and time.monotonic() > self._try_again_at:
                self._sources.trial(True)
                self._trial = gevent.spawn(self._prepare, url)
        elif self._trial.ready():
            can_be_read, self._trial = bool(self._trial.value), None
            if can_be_read:
                self._sources.restore()
                raise Restored
            self._sources.trial(False)
            self._delay_next_trial()

    def _restore_preferred(self) -> None:
        """Where the other source fails, too, the preferred one may be readable by now."""
        if self._sources.replaced and not self._connected and time.monotonic() > self._try_again_at + RETRY_SECONDS:
            if self._trial is not None:
                self._trial.kill(block=False)
                self._trial = None
            self._sources.restore()
            self._delay_next_trial()

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
    """Throw an error at the reader until it has come to its end: what it is at may swallow the first one. The reader
    ends this greenlet then."""
    while True:
        gevent.kill(reader, error)
        gevent.sleep(CHECK_SECONDS)
