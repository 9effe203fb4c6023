"""Cursors: positions in history as text, sealed for the member that gets them (contract section 5).

    base64url( id of the key (5) | nonce (12) | AES-256-GCM( offset (8), digest (4) ), tag (16) )

The history's name and the member's uid are authenticated with it, so no other member can use a cursor. Each cursor has
a random nonce: two cursors never look alike, even of the same position, and reveal nothing about the number of events.

Workers agree on a key through the history stream itself. Every marker in the stream carries the key of its worker, or a
new key. Each worker seals with the last key that it has read there, and opens cursors with any of them. So a worker
that has read up to a cursor's position has also read its key. See `docs/delivery.md`.

Pure: randomness and the time are given.
"""

from __future__ import annotations

import binascii
import hashlib
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from peatio_ws.routing.history import Entry, History, Position

HEADER: Final = "cursor-key"
"""The header of markers with the key in it."""
KEY_BYTES: Final = 32
KEY_SECONDS: Final = 3600.0
"""How long a key is used. With random nonces, an AES-GCM key is good for 2**32 messages (NIST SP 800-38D, 8.3)."""
MOST_KEYS: Final = 1000
"""The number of keys that are remembered. Keys that markers still carry are forgotten last."""
MOST_SEALED_ALONE: Final = 2**31
"""Cursors sealed with a key that no other worker uses, before the next key."""
LENGTH: Final = 60
"""Characters of a cursor."""
_ID, _NONCE, _SEALED = 5, 12, 28
_NONCES: Final = 256
"""Nonces drawn at a time: a system call takes as long as sealing a cursor."""
_BODY: Final = struct.Struct(">QI")
_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_FROM_URL: Final = bytes.maketrans(b"-_+/", b"+/!!")


class _Key(NamedTuple):
    secret: bytes
    id: bytes
    aead: AESGCM
    since: float  # when it became known here


class Cursors:
    """Seals and opens the cursors of one worker.

    Args:
        history: into which they point.
        random: returns a number of unpredictable random bytes.
    """

    def __init__(self, history: History, random: Callable[[int], bytes]) -> None:
        self._history, self._random = history, random
        self._keys: dict[bytes, _Key] = {}
        self._nonces = self._draw()
        self._drawn = 0
        self.use_own_key()

    def at(self, uid: str, entry: Entry | None = None) -> str:
        """Return a member's cursor behind this event, or behind the newest event."""
        return self.seal(self._history.position(entry), uid)

    def seal(self, position: Position, uid: str) -> str:
        """Return a member's cursor for a position. Each call returns a different text."""
        nonce, body = next(self._nonces), _BODY.pack(position.offset, position.digest)
        key = self._key
        sealed = key.id + nonce + key.aead.encrypt(nonce, body, _context(key.id, position.history, uid))
        return binascii.b2a_base64(sealed, newline=False).translate(_TO_URL).decode()

    def open(self, text: str, uid: str) -> Position | None:
        """Return the position in the current history; None if the cursor was not sealed for this history and member, or
        with a key that is not known here. The code is the same for all of these."""
        history = self._history.name
        if len(text) != LENGTH or not text.isascii():
            return None
        try:
            raw = binascii.a2b_base64(text.encode().translate(_FROM_URL), strict_mode=True)
            key = self._keys.get(raw[:_ID], self._key)
            body = key.aead.decrypt(raw[_ID : _ID + _NONCE], raw[_ID + _NONCE :], _context(raw[:_ID], history, uid))
        except (InvalidTag, ValueError):
            return None
        return Position(history, *_BODY.unpack(body))

    # ---- keys

    def use_own_key(self) -> None:
        """Seal with a new key that no other worker knows, until a marker carries one."""
        self._alone, self._drawn = True, 0
        self._use(self._random(KEY_BYTES), 0.0)

    def learn(self, headers: Mapping[str, Any], now: float) -> None:
        """Seal with the key of a marker from now on.

        Args:
            headers: of the marker, as read from the stream. A marker of another version may carry no key.
            now: monotonic time.
        """
        try:
            secret = bytes.fromhex(headers.get(HEADER, ""))
        except (TypeError, ValueError):
            return
        if len(secret) == KEY_BYTES:
            self._alone = False
            self._use(secret, now)

    def announce(self, now: float) -> dict[str, str]:
        """Return the headers for a marker: with the key, or with a new one if it is old. A new key is used once the
        marker is read back.

        Args:
            now: monotonic time.
        """
        key = self._key
        old = not self._alone and now - key.since > KEY_SECONDS
        return {HEADER: (self._random(KEY_BYTES) if old else key.secret).hex()}

    def _use(self, secret: bytes, now: float) -> None:
        name = hashlib.sha256(b"peatio_ws cursor key" + secret).digest()[:_ID]
        known = self._keys.pop(name, None)
        if known is not None and not known.since:
            known = known._replace(since=now)  # this worker's own key, which others know now
        self._key = self._keys[name] = known or _Key(secret, name, AESGCM(secret), now)
        if len(self._keys) > MOST_KEYS:
            del self._keys[next(iter(self._keys))]

    def _draw(self) -> Iterator[bytes]:
        while True:
            if self._alone and self._drawn > MOST_SEALED_ALONE:
                self.use_own_key()
            self._drawn += _NONCES
            drawn = self._random(_NONCES * _NONCE)
            for start in range(0, len(drawn), _NONCE):
                yield drawn[start : start + _NONCE]


def _context(key: bytes, history: str, uid: str) -> bytes:
    """Return the data to which a cursor is bound. No name of a history contains the separator."""
    return key + f"{history}\0{uid}".encode("utf-8", "surrogatepass")
