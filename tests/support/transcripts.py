"""Transcripts in the documents (`frames`), replayed against a gateway. docs/contributing.md describes their form."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from tests.support.asyncapi import matching
from tests.support.gateway import GatewayProcess, Publisher
from tests.support.raw_client import CLOSE, TEXT, RawClient, text

ELLIPSIS = "…"


class Failed(AssertionError):
    """The frames differ from the transcript."""


class Transcript:
    """One block, line by line.

    Args:
        token: returns the value of `<token>`.
    """

    def __init__(self, gateway: GatewayProcess, publisher: Publisher, token: Callable[[], str]) -> None:
        self._gateway, self._publisher, self._token = gateway, publisher, token
        self._connection: RawClient | None = None
        self._channel = ""
        self._kept = {"cursor": "", "mark": ""}
        self._steps: dict[str, Callable[[str], None]] = {
            "connect": self._connect,
            "refused": self._refused,
            "server": self._server,
            "client": self._client,
            "publish": self._publish,
            "close": self._close,
        }

    def play(self, block: str) -> None:
        try:
            for line in lines(block):
                what, _, rest = line.partition(" ")
                if what not in self._steps:
                    raise Failed(f"no line of a transcript: {line}")
                self._steps[what](rest.strip())
        finally:
            self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.drop()
            self._connection = None

    def _filled(self, words: str) -> str:
        words = words.replace("<token>", self._token())
        return words.replace("<cursor>", self._kept["cursor"]).replace("<mark>", self._kept["mark"])

    def _connect(self, words: str) -> None:
        self._drop()
        path, _, header = words.partition(" ")
        name, _, value = self._filled(header.strip()).partition(":")
        self._connection = RawClient(self._gateway.port)
        target = f"GET {self._filled(path)} HTTP/1.1"
        self._answer = self._connection.request({name: value.strip()} if name else {}, target)
        ranger = re.search(r"(^|/)(public|private)/?(\?|$)|/ranger(/|\?|$)|[?&]stream=", path) or name
        self._channel = "ranger" if ranger else "classic"

    def _refused(self, words: str) -> None:
        if str(self._answer.status) != words.split()[0]:
            raise Failed(f"{self._answer.status} instead of {words}")

    def _server(self, expected: str) -> None:
        frame = self._next()
        if frame.opcode != TEXT:
            raise Failed(f"{frame} instead of {expected}")
        got = frame.payload.decode()
        pattern = re.escape(expected).replace(re.escape(ELLIPSIS), ".*?")
        for name in self._kept:
            pattern = pattern.replace(re.escape(f"<{name}>"), f'(?P<{name}>[^"]+)')
        match = re.fullmatch(pattern, got)
        if match is None:
            raise Failed(f"{got} instead of {expected}")
        self._kept |= match.groupdict()
        self._judge("server", got)

    def _client(self, words: str) -> None:
        assert self._connection is not None
        said = self._filled(words)
        self._connection.send(text(said))
        self._judge("client", said)

    def _judge(self, sender: str, frame: str) -> None:
        if len(matching(self._channel, sender, frame)) != 1:
            raise Failed(f"not one message of docs/asyncapi.yaml: {frame}")

    def _publish(self, words: str) -> None:
        exchange, key, body = words.split(" ", 2)
        json.loads(body)
        kind = {"peatio.orderbook": "fanout", "peatio.trade": "headers", "peatio.events.ranger": "topic"}[exchange]
        headers = dict(pair.split("=") for pair in key.split(",")) if "=" in key else {}
        self._publisher.publish(exchange, kind, body.encode(), "" if headers else key, headers)

    def _close(self, words: str) -> None:
        frame = self._next()
        code, reason = int.from_bytes(frame.payload[:2], "big"), frame.payload[2:].decode()
        if frame.opcode != CLOSE or not f"{code} {reason}".startswith(words):
            raise Failed(f"{frame} instead of close {words}")

    def _next(self) -> Any:
        if self._connection is None or self._answer.status != 101:
            raise Failed("there is no connection")
        frame = self._connection.next()
        if frame is None:
            raise Failed("the gateway hung up")
        return frame


def lines(block: str) -> list[str]:
    """Join lines: a line that begins with a space continues the previous one."""
    found: list[str] = []
    for line in block.splitlines():
        if line.startswith(" ") and found:
            found[-1] += line.strip()
        elif line.strip():
            found.append(line)
    return found
