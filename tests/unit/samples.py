"""Helpers of several tests: keys, environments, tokens, deliveries, a broker's channel, and a socket that accepts as
many bytes as a test chooses.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import ssl
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import gevent
import jwt
from amqp import spec
from amqp.exceptions import AccessRefused
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from peatio_ws.auth.keys import PrivateKey, new_private_key, public_text
from peatio_ws.config.settings import Settings
from peatio_ws.monitoring.counters import WorkerCounters
from peatio_ws.protocol.exchanges import ORDERBOOK, RANGER, TRADE, Delivery
from peatio_ws.routing.batch import Batch
from peatio_ws.routing.channels import PublicChannels
from peatio_ws.routing.cursor import Cursors
from peatio_ws.routing.history import STREAM, History
from peatio_ws.routing.router import Router

NOW = 1_700_000_000
"""The Unix time at which tokens are looked at."""


def private_key(algorithm: str = "RS256", number: int = 0) -> PrivateKey:
    """One key for each pair of arguments; another number is another key of the same kind."""
    return _private_key(algorithm, number)


@functools.cache
def _private_key(algorithm: str, number: int) -> PrivateKey:
    return new_private_key(algorithm)


def public_pem(key: PrivateKey) -> str:
    return base64.urlsafe_b64decode(public_text(key)).decode()


def raw_pem(key: PrivateKey) -> str:
    """The raw 32 bytes of an Ed25519 public key inside PEM, as Rango's tools write it."""
    raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return f"-----BEGIN PUBLIC KEY-----\n{base64.b64encode(raw).decode()}\n-----END PUBLIC KEY-----\n"


def environment(**more: str) -> dict[str, str]:
    """A whole environment, with a key."""
    return {"JWT_PUBLIC_KEY": public_text(private_key()), **more}


def settings(**more: str) -> Settings:
    return Settings.from_env(environment(**more))


def claims(without: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    """Claims of a session as Barong makes them, good at `NOW`."""
    whole = {"iat": NOW - 60, "exp": NOW + 60, "jti": "1f2e", "sub": "session", "uid": "ID1", "state": "active", **more}
    return {name: value for name, value in whole.items() if name not in without}


def sign(payload: dict[str, Any], algorithm: str = "RS256", key: Any = None, **header: Any) -> str:
    """A signed token; anything JSON can say may be in it, unlike with `jwt.encode`."""
    text = json.dumps(payload).encode()
    return jwt.api_jws.encode(text, key or private_key(algorithm), algorithm=algorithm, headers=header or None)


def on_orderbook(body: Any, **headers: Any) -> Delivery:
    return Delivery(ORDERBOOK, "", headers, as_body(body))


def on_trade(body: Any, **headers: Any) -> Delivery:
    return Delivery(TRADE, "", headers, as_body(body))


def on_ranger(routing_key: str, body: Any) -> Delivery:
    return Delivery(RANGER, routing_key, {}, as_body(body))


def as_body(body: Any) -> bytes:
    """Bytes as they are, everything else as JSON."""
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def cursors(history: History | None = None) -> Cursors:
    """Return the cursors of one worker, with a new key."""
    return Cursors(History(STREAM, 1000, 10**9) if history is None else history, os.urandom)


def channels(max_books: int = 1000, batch: Batch | None = None) -> PublicChannels:
    """Public streams whose problems with books are not reported."""
    return PublicChannels(batch or Batch(WorkerCounters()), max_books, lambda _what, _stream: None)


def router(
    recall: Any, remember: Any, own: Cursors | None = None, counters: WorkerCounters | None = None, **options: bool
) -> Router:
    """A router with public streams."""
    counters = counters or WorkerCounters()
    batch = Batch(counters)
    return Router(recall, remember, own or cursors(), batch, channels(batch=batch), counters, **options)


class Bindings:
    """Stands where a broker's connection and channel would: keeps what is bound, and answers when it is let.

    Attributes:
        said: what it was asked, in order: `("bind" or "unbind", key)`; `("wait", key)` where the caller waits for it.
        refused: keys that it refuses.
        bound: keys.
    """

    def __init__(self) -> None:
        self._callbacks: dict[Any, Any] = {}
        self.said: list[tuple[str, str]] = []
        self.refused: set[str] = set()
        self.bound: set[str] = set()
        self.unanswered: list[tuple[Any, str]] = []
        self.broken = False

    def channel(self) -> Any:
        return self

    def close(self) -> None:
        pass

    def queue_bind(self, _queue: str, _exchange: str, key: str) -> None:
        self.said.append(("wait", key))
        if key in self.refused:
            raise AccessRefused
        self.bound.add(key)

    def send_method(self, method: Any, _form: str = "", arguments: tuple[Any, ...] = ()) -> None:
        if self.broken:
            raise ConnectionResetError
        if method in (spec.Queue.Bind, spec.Queue.Unbind):
            self.said.append(("bind" if method == spec.Queue.Bind else "unbind", arguments[3]))
            self.unanswered.append((method, arguments[3]))
        elif method == spec.Channel.Open:
            self._callbacks[spec.Channel.OpenOk]()

    def answer(self, most: int = 1_000_000) -> None:
        """Answer the oldest questions, as they were asked; a refusal throws away all that were asked after it."""
        while self.unanswered and most:
            most -= 1
            method, key = self.unanswered.pop(0)
            if method == spec.Queue.Bind and key in self.refused:
                self.unanswered.clear()
                self._callbacks[spec.Channel.Close](403, "ACCESS_REFUSED", *method)
            elif method == spec.Queue.Bind:
                self.bound.add(key)
                self._callbacks[spec.Queue.BindOk]()
            else:
                self.bound.discard(key)
                self._callbacks[spec.Queue.UnbindOk]()


class Wire:
    """Stands where an upgraded gevent socket would: takes what `takes` says, and keeps it.

    Args:
        takes: called with the bytes offered; how many of them are taken. 0 is a socket that would block now.
        tls: looks like a TLS socket, and takes all that is offered or nothing, as OpenSSL does (`SSL_write`): what it
            did not take may be on its way in part, and has to be offered again, with the same bytes.
    """

    def __init__(self, takes: Callable[[int], int] = lambda offered: offered, tls: bool = False) -> None:
        self._takes = takes
        self.taken = b""
        self.ended = False
        self._sock = self.Below(self)
        self._pending = b""  # the record that TLS could not write
        if tls:
            self.do_handshake = None
            self._sslobj = SimpleNamespace(write=self.take)

    class Below:
        """The plain, never waiting socket under gevent's."""

        def __init__(self, wire: Wire) -> None:
            self._wire = wire

        def send(self, data: bytes) -> int:
            return self._wire.take(data)

        def shutdown(self, how: int) -> None:
            self._wire.ended = True

    def send(self, data: memoryview) -> int:
        """As gevent's: lets others run until something is taken."""
        while True:
            gevent.sleep(0)
            try:
                return self.take(data)
            except (BlockingIOError, ssl.SSLWantWriteError):
                continue

    def take(self, data: bytes | memoryview) -> int:
        assert not self.ended, "written to after its end"
        count = min(self._takes(len(data)), len(data))
        if hasattr(self, "do_handshake"):
            assert bytes(data).startswith(self._pending), "other bytes than those that are on their way"
            self._pending = b"" if count else bytes(data)
            if not count:
                raise ssl.SSLWantWriteError
            count = len(data)
        elif not count:
            raise BlockingIOError
        self.taken += bytes(data[:count])
        return count

    def shutdown(self, how: int) -> None:
        assert not hasattr(self, "do_handshake"), "gevent's TLS socket would be none any more, under its reader"
        self.ended = True


def frames_in(data: bytes) -> list[tuple[int, bytes]]:
    """Opcode and payload of each unmasked frame; an AssertionError if the last one is not whole."""
    frames = []
    while data:
        size, start = data[1], 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start])
        assert len(data) >= start + size, "a frame was cut"
        frames.append((data[0] & 0x0F, data[start : start + size]))
        data = data[start + size :]
    return frames


def texts_in(data: bytes) -> list[Any]:
    """The JSON of each text frame."""
    return [json.loads(payload) for opcode, payload in frames_in(data) if opcode == 1]


def jwk(key: PrivateKey, kid: str | None = None, **more: Any) -> dict[str, Any]:
    """The public half as a member of a JWK set; a member given as None is left out."""
    kinds = {
        rsa.RSAPrivateKey: jwt.algorithms.RSAAlgorithm,
        ec.EllipticCurvePrivateKey: jwt.algorithms.ECAlgorithm,
        Ed25519PrivateKey: jwt.algorithms.OKPAlgorithm,
    }
    algorithm: Any = next(found for kind, found in kinds.items() if isinstance(key, kind))
    whole = {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, **more}
    return {name: value for name, value in whole.items() if value is not None}


def jwk_set(*members: Any) -> bytes:
    return json.dumps({"keys": members}).encode()
