"""Helpers of several tests: keys, environments, tokens, deliveries, and stand-ins for a channel and a socket."""

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
"""The Unix time at which tokens are verified."""


def private_key(algorithm: str = "RS256", number: int = 0) -> PrivateKey:
    """Return a key. Another number gives another key of the same kind; equal arguments give the same key."""
    return _private_key(algorithm, number)


@functools.cache
def _private_key(algorithm: str, number: int) -> PrivateKey:
    return new_private_key(algorithm)


def public_pem(key: PrivateKey) -> str:
    return base64.urlsafe_b64decode(public_text(key)).decode()


def raw_pem(key: PrivateKey) -> str:
    """Return the raw 32 bytes of an Ed25519 public key inside PEM, as Rango's tools write it."""
    raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return f"-----BEGIN PUBLIC KEY-----\n{base64.b64encode(raw).decode()}\n-----END PUBLIC KEY-----\n"


def environment(**more: str) -> dict[str, str]:
    """Return a complete environment, with a key."""
    return {"JWT_PUBLIC_KEY": public_text(private_key()), **more}


def settings(**more: str) -> Settings:
    return Settings.from_env(environment(**more))


def claims(without: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    """Return claims of a session as Barong makes them, valid at `NOW`."""
    whole = {"iat": NOW - 60, "exp": NOW + 60, "jti": "1f2e", "sub": "session", "uid": "ID1", "state": "active", **more}
    return {name: value for name, value in whole.items() if name not in without}


def sign(payload: dict[str, Any], algorithm: str = "RS256", key: Any = None, **header: Any) -> str:
    """Return a signed token. Unlike `jwt.encode` it accepts any claims that JSON can represent."""
    text = json.dumps(payload).encode()
    return jwt.api_jws.encode(text, key or private_key(algorithm), algorithm=algorithm, headers=header or None)


def on_orderbook(body: Any, **headers: Any) -> Delivery:
    return Delivery(ORDERBOOK, "", headers, as_body(body))


def on_trade(body: Any, **headers: Any) -> Delivery:
    return Delivery(TRADE, "", headers, as_body(body))


def on_ranger(routing_key: str, body: Any) -> Delivery:
    return Delivery(RANGER, routing_key, {}, as_body(body))


def as_body(body: Any) -> bytes:
    """Return bytes unchanged, and everything else as JSON."""
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def cursors(history: History | None = None) -> Cursors:
    """Return cursors of one worker, with a new key."""
    return Cursors(History(STREAM, 1000, 10**9) if history is None else history, os.urandom)


def channels(max_books: int = 1000, batch: Batch | None = None) -> PublicChannels:
    """Return public streams that do not report problems with books."""
    return PublicChannels(batch or Batch(WorkerCounters()), max_books, lambda _what, _stream: None)


def router(
    recall: Any, remember: Any, own: Cursors | None = None, counters: WorkerCounters | None = None, **options: bool
) -> Router:
    """Return a router with public streams."""
    counters = counters or WorkerCounters()
    batch = Batch(counters)
    return Router(recall, remember, own or cursors(), batch, channels(batch=batch), counters, **options)


class Bindings:
    """A stand-in for a broker's connection and channel. Records bindings, and answers when the test says so.

    Attributes:
        requests: requests in order: `("bind" or "unbind", key)`, or `("wait", key)` if the caller waits for the answer.
        refused: keys that it refuses to bind.
        bound: bound keys.
    """

    def __init__(self) -> None:
        self._callbacks: dict[Any, Any] = {}
        self.requests: list[tuple[str, str]] = []
        self.refused: set[str] = set()
        self.bound: set[str] = set()
        self.unanswered: list[tuple[Any, str]] = []
        self.broken = False

    def channel(self) -> Any:
        return self

    def close(self) -> None:
        pass

    def queue_bind(self, _queue: str, _exchange: str, key: str) -> None:
        self.requests.append(("wait", key))
        if key in self.refused:
            raise AccessRefused
        self.bound.add(key)

    def send_method(self, method: Any, _form: str = "", arguments: tuple[Any, ...] = ()) -> None:
        if self.broken:
            raise ConnectionResetError
        if method in (spec.Queue.Bind, spec.Queue.Unbind):
            self.requests.append(("bind" if method == spec.Queue.Bind else "unbind", arguments[3]))
            self.unanswered.append((method, arguments[3]))
        elif method == spec.Channel.Open:
            self._callbacks[spec.Channel.OpenOk]()

    def answer(self, most: int = 1_000_000) -> None:
        """Answer the oldest requests, in order. A refusal discards all later requests."""
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
    """A stand-in for an upgraded gevent socket. Accepts as many bytes as `takes` says, and records them.

    Args:
        takes: called with the offered bytes; returns how many are accepted. 0 means that the socket would block.
        tls: behave like a TLS socket, which accepts everything or nothing (OpenSSL's `SSL_write`): data that was not
            accepted may have been sent in part, and the same bytes have to be offered again.
    """

    def setsockopt(self, *_: int) -> None: ...

    def __init__(self, takes: Callable[[int], int] = lambda offered: offered, tls: bool = False) -> None:
        self._takes = takes
        self.taken = b""
        self.ended = False
        self._sock = self.Below(self)
        self._pending = b""  # the record that TLS has not written yet
        if tls:
            self.do_handshake = None
            self._sslobj = SimpleNamespace(write=self.take)

    class Below:
        """The plain non-blocking socket below gevent's."""

        def __init__(self, wire: Wire) -> None:
            self._wire = wire

        def send(self, data: bytes) -> int:
            return self._wire.take(data)

        def shutdown(self, how: int) -> None:
            self._wire.ended = True

    def send(self, data: memoryview) -> int:
        """Send like gevent's socket: let others run until something is accepted."""
        while True:
            gevent.sleep(0)
            try:
                return self.take(data)
            except (BlockingIOError, ssl.SSLWantWriteError):
                continue

    def take(self, data: bytes | memoryview) -> int:
        assert not self.ended, "data was written after the end"
        count = min(self._takes(len(data)), len(data))
        if hasattr(self, "do_handshake"):
            assert bytes(data).startswith(self._pending), (
                "other bytes were offered than those that may have been sent in part"
            )
            self._pending = b"" if count else bytes(data)
            if not count:
                raise ssl.SSLWantWriteError
            count = len(data)
        elif not count:
            raise BlockingIOError
        self.taken += bytes(data[:count])
        return count

    def shutdown(self, how: int) -> None:
        assert not hasattr(self, "do_handshake"), (
            "shutting down gevent's TLS socket would turn it into a plain one while it is being read"
        )
        self.ended = True


def frames_in(data: bytes) -> list[tuple[int, bytes]]:
    """Return opcode and payload of each unmasked frame. Raises AssertionError if the last one is incomplete."""
    frames = []
    while data:
        size, start = data[1], 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start])
        assert len(data) >= start + size, "the last frame is incomplete"
        frames.append((data[0] & 0x0F, data[start : start + size]))
        data = data[start + size :]
    return frames


def texts_in(data: bytes) -> list[Any]:
    """Return the JSON of each text frame."""
    return [json.loads(payload) for opcode, payload in frames_in(data) if opcode == 1]


def jwk(key: PrivateKey, kid: str | None = None, **more: Any) -> dict[str, Any]:
    """Return the public key as a member of a JWK set. Members given as None are left out."""
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
