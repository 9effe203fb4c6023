"""Random messages, requests and frames, from a seed, that no client should send.

Knows both protocols well enough to be nearly right most of the time.
"""

from __future__ import annotations

import base64
import json
import os
import random
from collections.abc import Callable, Iterator
from typing import Any

from tests.support.raw_client import BINARY, CLOSE, CONT, PING, PONG, TEXT, frame

LARGEST = 16_384
"""WEBSOCKET_MAX_MESSAGE_BYTES."""
SECRET = "fuzzed-payload"
"""Part of most of the input; the log must not contain it."""

Message = tuple[int, bytes]
"""Opcode and payload."""


class Nonsense:
    """Input for a gateway, from a seed.

    Args:
        tokens: valid ones.
    """

    def __init__(self, seed: int, tokens: list[str]) -> None:
        self._random, self._tokens = random.Random(seed), tokens
        self._makers: list[Callable[[], str]] = [self._sane, self._mutated, self._mutated, self._shaped, self._odd]

    def chance(self, part: float) -> bool:
        return self._random.random() < part

    def messages(self, count: int) -> Iterator[Message]:
        for _ in range(count):
            chance = self._random.random()
            if chance < 0.002:
                yield BINARY, self._random.randbytes(20)
            elif chance < 0.004:
                yield TEXT, self._sane().encode() + self._random.choice((b"\xff", b"\xc3", b"\xed\xa0\x80"))
            elif chance < 0.006:
                yield TEXT, self._sized(LARGEST + self._random.choice((1, 2, 5000))).encode()
            else:
                yield TEXT, self._random.choice(self._makers)().encode()[:LARGEST].decode(errors="ignore").encode()

    def _name(self) -> str:
        pick = self._random.choice
        return pick(
            [
                *("order", "trade", "a.trades", "a.ob-inc", "a.ob-snap", "global.tickers", f"{SECRET}.trades"),
                *(
                    "admin.a.sys",
                    "secret.a.sys",
                    "-inc",
                    ".-inc",
                    "a.-inc",
                    "a.-snap",
                    "",
                    ".",
                    "..",
                    "a..b",
                    "*.x",
                    "#",
                ),
                f"m{self._random.randrange(300)}.{pick(['x', 'ob-inc', 'ob-snap'])}",
                "é.trades",
                "a.\0",
                "a b.c",
                "\u2028.\U0001f600",
                "n" * pick([126, 127, 128, 129, 5000]),
                "m." + "n" * pick([122, 126, 127]) + pick(["", "-inc"]),
            ]
        )

    def _token(self) -> str:
        token = self._random.choice(self._tokens)
        head, body, signature = token.split(".")
        cut = self._random.randrange(len(token))
        forged = base64.urlsafe_b64encode(json.dumps({"uid": SECRET, "exp": 1e400, "iat": []}).encode()).decode()
        none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
        return self._random.choice(
            [
                *([token] * 9),
                *(token[:cut], token[:cut] + "é" + token[cut:], f"{head}.{forged.rstrip('=')}.{signature}"),
                *(f"{none}.{body}.", f"{head}.{body}", "", "..", "a.b.c", "\0", "." * 200, f"{head}..{signature}"),
            ]
        )

    def _fields(self) -> dict[str, Any]:
        pick = self._random.choice
        if self._random.random() < 0.15:
            message: dict[str, Any] = {"jwt": pick(["Bearer ", "Bearer ", "bearer ", "Basic ", ""]) + self._token()}
            if self._random.random() < 0.5:
                message["resume"] = pick([True, False, 1, "s.1.00000000", "x.ffffffffffffffff.00000000", "\ud800", {}])
            return message
        names = [self._name() for _ in range(pick([0, 1, 1, 2, 3, 30]))]
        message = {"event": pick(["subscribe", "subscribe", "unsubscribe", "unsubscribe", "dance"]), "streams": names}
        if self._random.random() < 0.3:
            message["id"] = self._value()
        return message

    def _sane(self) -> str:
        if self._random.random() < 0.1:
            return self._random.choice(
                ["ping", " ping\n", "PING", "ping ping", '"ping"', "\u00a0ping", "pong", "ping\0"]
            )
        return json.dumps(self._fields(), ensure_ascii=self._random.random() < 0.5).encode(errors="replace").decode()

    def _mutated(self) -> str:
        text = self._sane()
        for _ in range(self._random.choice((1, 1, 2, 8))):
            at = self._random.randrange(len(text) + 1)
            to = min(len(text), at + self._random.choice((1, 1, 3, 40)))
            piece = self._random.choice(
                ["", "", '"', "\\", "{", "}", "[", "]", ",", ":", "\0", "\\ud800", "\\u0000", "1e999"]
            )
            text = text[:at] + self._random.choice([piece, text[at:to] * 2, text[at:to][::-1]]) + text[to:]
        return text[: self._random.randrange(len(text) + 1)] if self._random.random() < 0.2 else text

    def _shaped(self) -> str:
        """Return an object with valid keys and any values."""
        keys = self._random.sample(
            ["jwt", "event", "streams", "resume", "id", "", "\0", "é"], self._random.randrange(5)
        )
        message = {key: self._value() for key in keys}
        if self._random.random() < 0.5:
            message |= {"event": "subscribe", "streams": self._value()}
        return json.dumps(message)

    def _value(self, depth: int = 0) -> Any:
        pick = self._random.choice
        flat = [None, True, 0, -1, 2**63, 10**400, 1.5, "", "subscribe", "Bearer ", "Bearer x", "\ud800", "\0", SECRET]
        if depth < 3 and self._random.random() < 0.4:
            inner = [self._value(depth + 1) for _ in range(self._random.randrange(4))]
            return pick([inner, {str(number): value for number, value in enumerate(inner)}])
        return pick([*flat, self._name(), "s" * pick([1, 1000])])

    def _odd(self) -> str:
        pick = self._random.choice
        deep = pick([10, 500, 1000, 5000, LARGEST])
        return pick(
            [
                *(
                    "",
                    " ",
                    "null",
                    "[]",
                    "{}",
                    "NaN",
                    "-",
                    "1e999",
                    "\ufeff{}",
                    "\0",
                    '{"jwt":"Bearer a"} {}',
                    "[[],[]",
                ),
                *("[" * deep, '{"jwt":' * (deep // 7), "1" * deep, "-" * deep, '"' + "\\" * deep, " " * deep + "ping"),
                '{"event":"subscribe","streams":' + "[" * deep + "]" * deep + "}",
                '{"event":"subscribe","event":"unsubscribe","streams":[],"streams":["a.trades"]}',
                '{"event":"subscribe","streams":["\\ud800.x","\\udc00\\ud800","\\u0000.x"]}',
                '{"event":"\\ud800","streams":[]}',
                '{"event":"subscribe","streams":["' + '","'.join(f"k{n}.{SECRET}" for n in range(150)) + '"]}',
                '{"event":"unsubscribe","streams":["' + '","'.join(f"k{n}.{SECRET}" for n in range(150)) + '"]}',
                '{"event":"subscribe","streams":["' + '","'.join(f"!{n}" for n in range(190)) + '"]}',
                '{"streams":' + "9" * (deep - 12) + "}",
                self._sized(LARGEST),
            ]
        )

    def _sized(self, size: int) -> str:
        text = self._random.choice(['{"event":"subscribe","streams":["%s"]}', '{"jwt":"Bearer %s"}', "%s", '{"%s":1}'])
        return text.replace("%s", "x" * (size - len(text) + 2))

    # ---- requests and frames

    def request(self) -> bytes:
        """Return a request with an odd line and odd headers; most ask for an upgrade."""
        pick = self._random.choice
        path = pick(
            [
                "/",
                "/public",
                "/private",
                "/api/v2/ranger/public/",
                "//",
                "/%00",
                "/%ff/public",
                "/é",
                "*",
                "",
                "/..;/",
                f"/{SECRET}",
            ]
        )
        path = path if self._random.random() < 0.9 else "/" + "p" * pick([100, 7000, 9000])
        query = "&".join(self._parameter() for _ in range(pick([0, 1, 1, 2, 5])))
        query = query if self._random.random() < 0.97 else "&".join(["stream=a.b"] * pick([999, 1001]))[:8000]
        version = pick(["HTTP/1.1"] * 12 + ["HTTP/1.0", "HTTP/2.0", "HTTP/x", "", "HTTP/1.1 more"])
        method = pick(["GET"] * 12 + ["POST", "get", "BREW", "", "\0"])
        lines = [f"{method} {path}{'?' if query else ''}{query} {version}", "Host: localhost", "Connection: Upgrade"]
        lines += ["Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {_key()}"]
        if self._random.random() < 0.5:
            lines.append(f"Authorization: {self._authorization()}")
        if self._random.random() < 0.2:
            lines.insert(
                pick([1, 2, 5]), pick(["X: \0", "X", ": x", "X:" + "y" * 9000, "Content-Length: x", "é: é", " folded"])
            )
        if self._random.random() < 0.1:
            del lines[self._random.randrange(1, len(lines))]
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "replace")

    def _parameter(self) -> str:
        pick = self._random.choice
        value = pick(
            [
                "",
                "a.b",
                "order",
                "a.ob-inc",
                ",,,",
                "a.b,c.d",
                "%00",
                "%ff%fe",
                "%ed%a0%80",
                "+",
                "é",
                "%",
                "=",
                "n" * 300,
            ]
        )
        return (
            pick(["stream", "stream", "stream[]", "Stream", "resume", "", "%73tream"])
            + pick(["=", "=", "", "=="])
            + value
        )

    def _authorization(self) -> str:
        pick = self._random.choice
        scheme = pick(["Bearer ", "Bearer ", "bearer\t", "Basic ", "Negotiate ", "", " ", "Bearer  "])
        return scheme + pick([self._token(), self._token(), "\x01", "é", "x" * 5000, ""])

    def frames(self) -> bytes:
        """Return frames of all kinds, some of them broken, to send after an upgrade."""
        pick, parts = self._random.choice, []
        for _ in range(pick([1, 2, 4])):
            payload = pick([b"", b"x", self._sane().encode(), self._random.randbytes(pick([2, 125, 126, 70_000]))])
            options: dict[str, Any] = {}
            if self._random.random() < 0.3:
                options = pick(
                    [{"mask": False}, {"reserved": 4}, {"length": 2**63}, {"length": 3}, {"length": LARGEST + 1}]
                )
            opcode = pick([TEXT, TEXT, CONT, BINARY, CLOSE, PING, PONG, 3, 7, 11, 15])
            parts.append(frame(opcode, payload, fin=self._random.random() < 0.7, **options))
        data = b"".join(parts) if self._random.random() < 0.9 else self._random.randbytes(pick([1, 7, 300]))
        return data[: self._random.randrange(len(data) + 1)] if self._random.random() < 0.2 else data


def _key() -> str:
    return base64.b64encode(os.urandom(16)).decode()
