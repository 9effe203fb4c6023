"""What attackers send in `tests.programs.attack`: a request and the bytes that follow it, made once for each attack.

Knows the protocols; does not know how the bytes are sent (`attackers.py`).
"""

from __future__ import annotations

import base64
import json
import os
import ssl
from collections.abc import Callable, Mapping
from typing import NamedTuple

from tests.support.raw_client import BINARY, CONT, PING, PONG, TEXT, close, frame, text
from tests.support.tls_records import HANDSHAKE, HELLO, KEY_UPDATE

RATE = 60_000
"""Bytes a second that a connection sends by default; fewer if the gateway reads less."""
NAMES = 200
PUBLIC = "/public?stream=btcusd.trades"


class Script(NamedTuple):
    """What one connection does.

    Attributes:
        request: sent first; nothing for a connection that stays silent.
        frames: sent repeatedly after the answer 101; empty to only listen.
        first: sent once before them.
        rate: bytes of `frames` a second.
        reads: whether it reads what it is sent.
        slowly: whether `request` is sent one byte at a time.
        lasts: seconds after which it disconnects and connects again; 0 for never.
        records: version of TLS and content type, if `frames` are sent as one TLS record each, which is not data.
    """

    request: bytes
    frames: bytes = b""
    first: bytes = b""
    rate: float = RATE
    reads: bool = True
    slowly: bool = False
    lasts: float = 0.0
    records: tuple[ssl.TLSVersion, int] | None = None


Given = Mapping[str, str]
"""What attackers know: tokens by kind, and an old cursor."""
Make = Callable[[int, Given], Script]
"""Returns the script of the connection with this number."""


def upgrade(path: str = PUBLIC, *headers: str) -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def flood(frames: bytes, first: bytes = b"", rate: float = RATE) -> Make:
    """Repeat the same frames endlessly, some KB in a packet."""
    many = frames * max(1, 3_000 // len(frames))
    return lambda _number, _given: Script(upgrade(), many, first, rate)


def asking(event: str, names: Callable[[int], list[str]]) -> Make:
    def make(number: int, _given: Given) -> Script:
        return Script(upgrade("/public"), text({"event": event, "streams": names(number)}), rate=RATE / 4)

    return make


def names(number: int, _given: Given) -> Script:
    streams = [f"m.{number * NAMES + one}-inc" for one in range(NAMES)]
    return Script(upgrade("/public"), first=text({"event": "subscribe", "streams": streams}))


def churn(number: int, _given: Given) -> Script:
    """Subscribe and unsubscribe, eight times a second each: the limit of messages."""
    streams = [f"m{number}.ob-inc", f"m{number}.trades"]
    turn = b"".join(text({"event": event, "streams": streams}) for event in ("subscribe", "unsubscribe"))
    return Script(upgrade("/public"), turn, rate=4.0 * len(turn))


def authenticating(kind: str) -> Make:
    """A classic client that sends the same token repeatedly."""
    return lambda _number, given: Script(upgrade("/"), text({"jwt": f"Bearer {given[kind]}"}))


def by_header(kind: str, path: str = "/private?stream=order", lasts: float = 0.2) -> Make:
    return lambda _number, given: Script(
        upgrade(path.format_map(given), f"Authorization: Bearer {given[kind]}"), lasts=lasts
    )


HALF = upgrade()[:-2]
LONG = [f"X-{number}: {'x' * 100}" for number in range(80)]
ATTACKS: dict[str, Make] = {
    "pings": flood(frame(PING)),
    "pongs": lambda number, given: flood(frame(PONG), rate=RATE if number else 3_000_000)(number, given),
    "empty texts": flood(frame(TEXT)),
    "texts": flood(text({"event": "dance"})),
    "deep JSON": flood(text("[" * 16_000)),
    "binaries": flood(frame(BINARY, b"x" * 100)),
    "closes": flood(close(1000)),
    "empty fragments": flood(frame(CONT, fin=False), frame(TEXT, fin=False)),
    "fragments of 1 byte": flood(frame(CONT, b"x", fin=False), frame(TEXT, fin=False)),
    "unmasked frames": flood(frame(TEXT, b"{}", mask=False)),
    "oversized frames": flood(frame(BINARY, length=2**62)),
    "invented names": names,
    "names that come and go": churn,
    "names of others": asking("subscribe", lambda n: [f"admin.m{n}.{one}" for one in range(100)] + ["order"] * 50),
    "slow requests": lambda _number, _given: Script(upgrade(), slowly=True),
    "half requests": lambda _number, _given: Script(HALF),
    "silence": lambda _number, _given: Script(b""),
    "long headers": lambda _number, _given: Script(upgrade(PUBLIC, *LONG[:80]), lasts=0.2),
    "long queries": lambda number, _given: Script(
        upgrade("/public?stream=" + ",".join(f"q{number}.{one}" for one in range(NAMES))), lasts=0.2
    ),
    "plain requests": lambda _number, _given: Script(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50),
    "forged tokens": authenticating("forged"),
    "expired tokens": authenticating("expired"),
    "huge tokens": authenticating("huge"),
    "good tokens": authenticating("good"),
    "forged cursors": by_header("good", "/private?stream=order&resume=forged"),
    "replays": by_header("good", "/private?stream=order&resume={cursor}", lasts=0.5),
    "slow readers": lambda _number, _given: Script(upgrade(), reads=False),
}
"""Attacks by name. One of those that send pongs is fifty times as fast as the others."""
ONLY_TLS = ("half handshakes", "key updates", "renegotiations")
"""Attacks on TLS itself."""
OVER_TLS = ("pongs", "texts", "fragments of 1 byte", "half requests", "silence", "forged tokens", *ONLY_TLS)
"""Attacks that are run over TLS, most of them also without."""
HALF_HELLO = bytes.fromhex("1603010200010001fc0303") + b"\x00" * 40
"""The beginning of a TLS handshake that never ends."""
ATTACKS["half handshakes"] = lambda _number, _given: Script(HALF_HELLO)
ATTACKS["key updates"] = lambda _number, _given: Script(
    upgrade(), KEY_UPDATE, records=(ssl.TLSVersion.TLSv1_3, HANDSHAKE)
)
ATTACKS["renegotiations"] = lambda _number, _given: Script(
    upgrade(), HELLO, records=(ssl.TLSVersion.TLSv1_2, HANDSHAKE)
)
BARE = ("silence", "half handshakes")
"""Attacks before the end of a TLS handshake: their data is not encrypted."""


def given(tokens: Mapping[str, str], cursor: str) -> Given:
    """Return what attackers have to know, as makers of `Script` take it."""
    return {**tokens, "cursor": cursor}


def as_json(known: Given) -> str:
    return json.dumps(dict(known))
