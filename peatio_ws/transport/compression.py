"""Compression of what the gateway sends (permessage-deflate, RFC 7692): its negotiation, and compressed frames.

Pure: takes and returns bytes. `inflate.py` decompresses what clients send.

Theory of operation. Connections share compressors. `server_no_context_takeover` makes a compressed frame independent of
earlier ones, so one frame serves all connections that negotiated the same `Compression`; there are two of them. A text
is compressed when the first of these connections is to receive it. Connections without compression receive the
uncompressed frame. With `client_no_context_takeover`, clients do the same: nothing is kept between two messages.
"""

from __future__ import annotations

import functools
import zlib
from typing import Final, NamedTuple

from websockets.exceptions import InvalidHeader, NegotiationError
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.headers import build_extension, parse_extension

from peatio_ws.transport.frames import compressed_text_frame, payload_at

LEVEL: Final = 5
"""The level of zlib. A book of 600 levels (13.3 KB) takes 100 us and becomes 4.0 KB; at level 6 400 us for 0.7 % less,
at level 1 57 us and 4.7 KB. Tickers of 20 markets (5 KB) take 33 us and become 1.4 KB; at level 6 39 us for 0.3 %
less."""
WINDOW_BITS: Final = 12
"""Base-2 logarithm of the window, 4 KiB: requested by the library `websockets`, and as good as 15 for these texts."""
SMALL_WINDOW_BITS: Final = 9
"""For all clients that ask for less: the smallest window of zlib, which all of them can read."""
MEMORY_LEVEL: Final = 5
"""zlib's `memLevel`. With its default, 8, a text takes up to 100 us longer in a small window and is no shorter."""
LONGEST_OFFERS: Final = 1_024
"""The longest `Sec-WebSocket-Extensions` that is read, in characters. Browsers send 50. A thousand take up to 2 ms to
parse, and all other clients wait meanwhile."""
REMEMBERED_BYTES: Final = 65_536
"""A handler may send one text to a thousand clients; up to this size it is compressed once."""

_FACTORY: Final = ServerPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True)


class Compression:
    """How texts are compressed for all connections that negotiated the same parameters.

    Args:
        window_bits: base-2 logarithm of the window, 9 to 15.
        threshold: longer texts, in bytes, are compressed.

    Attributes:
        texts, bytes_before, bytes_after: totals of the texts compressed since `take_counts`, without frame headers.
    """

    __slots__ = ("_compressed", "_frames", "_window_bits", "bytes_after", "bytes_before", "texts", "threshold")

    def __init__(self, window_bits: int, threshold: int) -> None:
        self._window_bits, self.threshold = window_bits, threshold
        self._frames = self._compressed = b""  # the most recent ones
        self.texts = self.bytes_before = self.bytes_after = 0

    def compress(self, frames: bytes) -> bytes:
        """Return text frames, compressing those that are over the threshold if that makes them smaller.

        Args:
            frames: whole frames, of texts only, as `frames.text_frame` makes them.
        """
        if frames == self._frames:
            return self._compressed
        parts, at = [], 0
        while at < len(frames):
            start, end = payload_at(frames, at)
            parts.append(self._compress_text(frames[start:end]) or frames[at:end])
            at = end
        compressed = b"".join(parts)
        if len(frames) <= REMEMBERED_BYTES:
            self._frames, self._compressed = frames, compressed
        return compressed

    def take_counts(self) -> tuple[int, int, int]:
        """Return how many texts were compressed since the last call, and their bytes before and after."""
        counts = self.texts, self.bytes_before, self.bytes_after
        self.texts = self.bytes_before = self.bytes_after = 0
        return counts

    def _compress_text(self, payload: bytes) -> bytes | None:
        """Return a compressed frame (RFC 7692 section 7.2.1); None if the text should be sent unchanged."""
        if len(payload) <= self.threshold:
            return None
        compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, -self._window_bits, MEMORY_LEVEL)
        deflated = (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
        if len(deflated) >= len(payload):
            return None
        self.texts += 1
        self.bytes_before += len(payload)
        self.bytes_after += len(deflated)
        return compressed_text_frame(deflated)


class Variants(dict["Compression | None", bytes]):
    """Text frames as each connection receives them, by its compression. A compressed variant is made on first use.

    Args:
        frames: for connections without compression.
    """

    __slots__ = ()

    def __init__(self, frames: bytes) -> None:
        super().__init__({None: frames})

    def __missing__(self, compression: Compression) -> bytes:
        compressed = self[compression] = compression.compress(self[None])
        return compressed


class Agreement(NamedTuple):
    """The result of a negotiation.

    Attributes:
        answer: value of `Sec-WebSocket-Extensions` in the answer.
    """

    answer: str
    compression: Compression


@functools.lru_cache(64)  # browsers of one kind make the same offers
def negotiate(offers: str, threshold: int) -> Agreement | None:
    """Return the agreement with a client; None if it offers nothing acceptable.

    Args:
        offers: its `Sec-WebSocket-Extensions`. A header that is too long or cannot be read offers nothing.
        threshold: see `Compression`.
    """
    if len(offers) > LONGEST_OFFERS:
        return None
    try:
        extensions = parse_extension(offers)
    except InvalidHeader:
        return None
    for name, offered in extensions:
        if name != _FACTORY.name:
            continue
        try:
            accepted, agreed = _FACTORY.process_request_params(offered, [])
        except NegotiationError:  # RFC 7692 section 7.1: decline this offer; the client may have made others
            continue
        window_bits = WINDOW_BITS if agreed.local_max_window_bits >= WINDOW_BITS else SMALL_WINDOW_BITS
        return Agreement(build_extension([(name, accepted)]), shared_compression(window_bits, threshold))
    return None


@functools.cache
def shared_compression(window_bits: int, threshold: int) -> Compression:
    """Return the one `Compression` of all connections that negotiated these parameters."""
    return Compression(window_bits, threshold)
