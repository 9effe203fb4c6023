"""Keys as their issuer publishes them: fetched, or read from a file, in the background, for the verifier.

A handshake never waits for them. What cannot be had changes nothing: the last keys stay.
"""

from __future__ import annotations

import functools
import http.client
import math
import random
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import gevent
import gevent.event
import structlog

from peatio_ws.auth.jwks import MOST_BYTES, KeyRing, KeySet, parse_key_set
from peatio_ws.auth.verifier import TokenRules, Verifier
from peatio_ws.concurrency.backoff import Backoff

log = structlog.get_logger("peatio_ws.auth.jwks_refresh")

FETCH_SECONDS: Final = 5.0
"""For all of a set to arrive."""
FILE_SECONDS: Final = 5.0
"""How often a file is looked at, at least."""
START_SECONDS: Final = 3.0
"""How long a worker waits for its first keys before it takes connections without them."""

FRESH_SECONDS: Final = 5.0
"""A set that was read this short a time ago is not read again for a token whose key is not in it."""
LONGEST_WAIT: Final = 30
"""Seconds after which a client is told to come back, at most."""


class JwksRefresh:
    """Keeps the verifier's ring up to date.

    Args:
        rules: where the set of keys is; without one there is nothing to do.
        verifier: is given each new ring as a whole.
    """

    def __init__(self, rules: TokenRules, verifier: Verifier) -> None:
        self._verifier, self._algorithm = verifier, rules.algorithm
        self._read = reader_for(rules)
        self._location = location(rules)
        self._pause = min(rules.jwks_refresh, FILE_SECONDS) if rules.jwks_file else rules.jwks_refresh
        self._failures = 0
        self._backoff = Backoff(1.0, self._pause, jitter=0.2)
        self._ignored: tuple[str, ...] = ()
        self._state = "not read yet"
        self._tried = gevent.event.Event()
        self._wanted = gevent.event.Event()  # a token's key is not there: do not wait for the next read
        self._read_at = -math.inf
        self._next_read = -math.inf

    def run(self) -> None:
        """Read the set, again and again; returns at once where there is none."""
        while self._read is not None:
            self.refresh()
            self._tried.set()
            # Not all workers at once.
            pause = self._backoff.next_pause() if self._failures else self._pause * random.uniform(0.8, 1)
            self._next_read = time.monotonic() + pause
            self._wanted.clear()
            self._wanted.wait(pause)

    def wait(self) -> None:
        """Until the set was tried for the first time, for `START_SECONDS` at most."""
        if self._read is not None:
            self._tried.wait(START_SECONDS)

    def retry_after(self) -> int:
        """After how many seconds a token may be shown again whose key is not there; 0 if it will hardly be there then.

        Without any key, and while the set cannot be read, that is no fault of the token. The issuer may also have begun
        to use a key since the set was read: then it is read again at once.
        """
        if self._read is None:
            return 0
        now, ring = time.monotonic(), self._verifier.ring
        if self._failures or not (ring.fixed or ring.published):
            return min(max(1, math.ceil(self._next_read - now)), LONGEST_WAIT) if self._tried.is_set() else 1
        if now - self._read_at < FRESH_SECONDS:
            return 0
        self._wanted.set()
        return 1

    def problems(self) -> list[str]:
        """Why no token can be verified; nothing if some can."""
        ring = self._verifier.ring
        return (
            [] if ring.fixed or ring.published else [f"no key to verify tokens with: {self._location}: {self._state}"]
        )

    def refresh(self) -> None:
        """Read the set once."""
        assert self._read is not None
        try:
            with gevent.Timeout(FETCH_SECONDS, TimeoutError(f"no answer within {FETCH_SECONDS:g} s")):
                data = self._read()
            found = parse_key_set(data, self._algorithm)
        except Exception as error:  # whatever it is: the last keys are better than none
            self._on_failure(fetch_error(error))
        else:
            self._use_keys(found)

    def _on_failure(self, reason: str) -> None:
        self._failures += 1
        self._state = reason
        if self._failures == 1:
            kept = len(self._verifier.ring.published)
            log.warning("keys cannot be read; the last ones stay", source=self._location, kept=kept, error=reason)

    def _use_keys(self, found: KeySet) -> None:
        self._read_at = time.monotonic()
        ring, state = self._verifier.ring, "" if found.keys else "holds no key that can be used"
        if self._failures:
            self._failures = 0
            self._backoff.reset()
            log.info("keys are read again", source=self._location)
        ignored = found.exposed + found.ignored
        if ignored != self._ignored:
            for line in ignored:
                log.warning("a published key is not used", source=self._location, reason=line)
        if found.keys != ring.published:
            self._verifier.ring = KeyRing(ring.fixed, found.keys)
            log.info("keys changed", source=self._location, kids=[named.kid for named in found.keys])
        if state and state != self._state:
            log.warning("no published key can be used; no token of one is accepted", source=self._location)
        self._ignored, self._state = ignored, state


def location(rules: TokenRules) -> str:
    """Where the set is, in the operator's words; without what may be a secret in a URL's query."""
    if rules.jwks_url:
        return f"JWT_JWKS_URL={urlsplit(rules.jwks_url)._replace(query='', fragment='').geturl()}"
    return f"JWT_JWKS_FILE={rules.jwks_file}" if rules.jwks_file else ""


def reader_for(rules: TokenRules) -> Callable[[], bytes] | None:
    """What brings the set, a byte more than `MOST_BYTES` of it at most; OSError and others. None: there is no set."""
    if rules.jwks_url:
        return functools.partial(_fetch, rules.jwks_url)
    return functools.partial(_read_file, rules.jwks_file) if rules.jwks_file else None


def fetch_error(error: Exception) -> str:
    """What kept the set from being read."""
    if isinstance(error, urllib.error.HTTPError):
        elsewhere = "; it is elsewhere, which has to be named here" if 300 <= error.code < 400 else ""
        return f"answers with HTTP {error.code}{elsewhere}"
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, http.client.HTTPException):
        return f"does not speak HTTP ({type(reason).__name__})"
    return str(getattr(reason, "strerror", None) or reason) or type(reason).__name__


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MOST_BYTES + 1)


def _fetch(url: str) -> bytes:
    try:
        with _opener().open(url, timeout=FETCH_SECONDS) as answer:
            body: bytes = answer.read(MOST_BYTES + 1)
            return body
    except urllib.error.HTTPError as error:
        error.close()
        raise


@functools.cache
def _opener() -> urllib.request.OpenerDirector:
    """HTTP and HTTPS only: no other scheme, no proxy, and no redirect, which could lead from one to the other."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),  # reading the authorities takes a while
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    opener.addheaders = [("User-Agent", "peatio_ws"), ("Accept", "application/json")]
    return opener
