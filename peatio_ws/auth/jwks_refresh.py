"""Refreshes the verifier's keys in the background, from the issuer's URL or from a file.

A handshake never waits for keys. If the set cannot be read, the last keys stay in use.
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
"""Time limit for fetching a whole set."""
FILE_SECONDS: Final = 5.0
"""Longest time between two reads of a file."""
START_SECONDS: Final = 3.0
"""How long a worker waits for its first keys before it accepts connections without them."""

FRESH_SECONDS: Final = 5.0
"""A set read less than this time ago is not read again for a token with an unknown key."""
LONGEST_WAIT: Final = 30
"""Maximum of the seconds after which a client is asked to retry."""


class JwksRefresh:
    """Keeps the verifier's key ring up to date.

    Args:
        rules: location of the JWK set; without one there is nothing to do.
        verifier: receives each new ring as a whole.
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
        self._wanted = gevent.event.Event()  # a token names an unknown key: read the set early
        self._read_at = -math.inf
        self._next_read = -math.inf

    def run(self) -> None:
        """Read the set repeatedly. Returns at once if no set is configured."""
        while self._read is not None:
            self.refresh()
            self._tried.set()
            # Jitter, so that workers do not read at the same time.
            pause = self._backoff.next_pause() if self._failures else self._pause * random.uniform(0.8, 1)
            self._next_read = time.monotonic() + pause
            self._wanted.clear()
            self._wanted.wait(pause)

    def wait(self) -> None:
        """Wait for the first attempt to read the set, for up to `START_SECONDS`."""
        if self._read is not None:
            self._tried.wait(START_SECONDS)

    def retry_after(self) -> int:
        """Return after how many seconds a client may retry a token with an unknown key; 0 if retrying is pointless.

        The token is not at fault if no key is known, or if the set cannot be read. The issuer may also have started to
        use a new key since the last read; the set is then read again at once.
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
        """Return why no token can be verified; an empty list if there are keys."""
        ring = self._verifier.ring
        return [] if ring.fixed or ring.published else [f"no key to verify tokens: {self._location}: {self._state}"]

    def refresh(self) -> None:
        """Read the set once."""
        assert self._read is not None
        try:
            with gevent.Timeout(FETCH_SECONDS, TimeoutError(f"no answer within {FETCH_SECONDS:g} s")):
                data = self._read()
            found = parse_key_set(data, self._algorithm)
        except Exception as error:  # any failure: the last keys stay in use
            self._on_failure(fetch_error(error))
        else:
            self._use_keys(found)

    def _on_failure(self, reason: str) -> None:
        self._failures += 1
        self._state = reason
        if self._failures == 1:
            kept = len(self._verifier.ring.published)
            log.warning(
                "published keys cannot be read; keeping the last ones", source=self._location, kept=kept, error=reason
            )

    def _use_keys(self, found: KeySet) -> None:
        self._read_at = time.monotonic()
        ring, state = self._verifier.ring, "" if found.keys else "contains no usable key"
        if self._failures:
            self._failures = 0
            self._backoff.reset()
            log.info("published keys can be read again", source=self._location)
        ignored = found.exposed + found.ignored
        if ignored != self._ignored:
            for line in ignored:
                log.warning("published key ignored", source=self._location, reason=line)
        if found.keys != ring.published:
            self._verifier.ring = KeyRing(ring.fixed, found.keys)
            log.info("published keys changed", source=self._location, kids=[named.kid for named in found.keys])
        if state and state != self._state:
            log.warning("no published key is usable; tokens signed with them are rejected", source=self._location)
        self._ignored, self._state = ignored, state


def location(rules: TokenRules) -> str:
    """Return the setting that names the set, for the log; without the URL's query, which may hold a secret."""
    if rules.jwks_url:
        return f"JWT_JWKS_URL={urlsplit(rules.jwks_url)._replace(query='', fragment='').geturl()}"
    return f"JWT_JWKS_FILE={rules.jwks_file}" if rules.jwks_file else ""


def reader_for(rules: TokenRules) -> Callable[[], bytes] | None:
    """Return a function that reads the set, up to one byte over `MOST_BYTES`; None if no set is configured.

    The function raises OSError and others.
    """
    if rules.jwks_url:
        return functools.partial(_fetch, rules.jwks_url)
    return functools.partial(_read_file, rules.jwks_file) if rules.jwks_file else None


def fetch_error(error: Exception) -> str:
    """Return why the set could not be read."""
    if isinstance(error, urllib.error.HTTPError):
        elsewhere = "; redirects are not followed, configure the final URL" if 300 <= error.code < 400 else ""
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
    """Return an opener for HTTP and HTTPS only. It uses no proxy and follows no redirect to another scheme."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),  # made once: loading the authorities is slow
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    opener.addheaders = [("User-Agent", "peatio_ws"), ("Accept", "application/json")]
    return opener
