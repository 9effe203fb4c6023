"""An AMQP relay that makes a RabbitMQ node look and act like an older version.

    with OldBroker(broker.port, "3.7.28") as old:
        …                           # clients connect to old.url

What it changes, by the version (RabbitMQ's release notes; rabbit_amqqueue.erl of each branch):

- all: the `version` in the node's server properties.
- 3.7: a queue is declared without the arguments that 3.7 does not know. So a stream becomes a durable classic queue,
  and no error says so. `x-stream-offset` is taken out of `basic.consume`.
- 3.8: the type `stream` becomes a type that the node does not know, so that the node itself refuses it with 406.
- 3.9 and later: nothing else.

Knows AMQP 0-9-1 frames; does not know the gateway. Frames that it does not change pass byte for byte.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
from collections.abc import Callable
from typing import Any

from amqp import spec
from amqp.serialization import dumps, loads

from tests.support.tcp_relay import TcpRelay

UNKNOWN_TO_3_7 = (
    "x-queue-type",
    "x-max-age",
    "x-stream-max-segment-size-bytes",
    "x-stream-filter-size-bytes",
    "x-initial-cluster-size",
    "x-queue-leader-locator",
    "x-quorum-initial-group-size",
    "x-single-active-consumer",
)
"""Arguments of `queue.declare` that came after 3.7."""
_UNKNOWN_TYPE = "stream-of-a-later-version"
_GREETING_BYTES = 8
_METHOD_FRAME = 1
_FRAME_END = 0xCE

# AMQP 0-9-1 sections 1.4.2.1, 1.7.2.1 and 1.8.3.3: the arguments of the methods that are changed.
_START = "ooFSS"
_DECLARE = "BsbbbbbF"
_CONSUME = "BssbbbbF"


class OldBroker(TcpRelay):
    """Passes everything on to a RabbitMQ node.

    Args:
        to: port of the node.
        version: the version that the node appears to have, for example `3.7.28`.
        listener: see `TcpRelay`.

    Attributes:
        version: version for new connections; assign another one to upgrade the broker.
        declared: name and arguments of each queue that a client declared, as the client sent them.
    """

    def __init__(self, to: int, version: str, listener: socket.socket | None = None) -> None:
        self.version = version
        self.declared: list[tuple[str, dict[str, Any]]] = []
        super().__init__(to, listener)

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def passing(self, client: socket.socket, server: socket.socket) -> tuple[Callable[[], None], Callable[[], None]]:
        from_client, from_server = _FromClient(self.version, self.declared), _FromServer(self.version)
        return (
            lambda: _pump(client, server, from_client, _GREETING_BYTES),
            lambda: _pump(server, client, from_server, 0),
        )


def _pump(source: socket.socket, target: socket.socket, change: Callable[[bytes], bytes], greeting: int) -> None:
    waiting = b""
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            passed, waiting, greeting = _frames(waiting + data, change, greeting)
            target.sendall(passed)
    target.shutdown(socket.SHUT_WR)


def _frames(data: bytes, change: Callable[[bytes], bytes], greeting: int) -> tuple[bytes, bytes, int]:
    """Change each whole frame (AMQP 0-9-1 section 2.3.5).

    Args:
        greeting: number of bytes before the first frame.

    Returns:
        The frames to pass on, the beginning of an incomplete frame, and how many bytes of the greeting are missing.
    """
    passed, at = [], 0
    if greeting:
        if len(data) < greeting:
            return b"", data, greeting
        passed.append(data[:greeting])
        at = greeting
    while len(data) - at >= 8:
        kind, channel, size = struct.unpack_from(">BHI", data, at)
        end = at + 7 + size
        if len(data) <= end:
            break
        assert data[end] == _FRAME_END, "not an AMQP frame"
        payload = data[at + 7 : end]
        if kind == _METHOD_FRAME and (changed := change(payload)) is not payload:
            passed.append(struct.pack(">BHI", kind, channel, len(changed)) + changed + bytes((_FRAME_END,)))
        else:
            passed.append(data[at : end + 1])
        at = end + 1
    return b"".join(passed), data[at:], 0


class _FromServer:
    """Changes methods that a node sends."""

    def __init__(self, version: str) -> None:
        self._version = version

    def __call__(self, payload: bytes) -> bytes:
        if _method(payload) != spec.Connection.Start:
            return payload
        major, minor, properties, mechanisms, locales = loads(_START, payload, 4)[0]
        properties["version"] = self._version
        changed: bytes = payload[:4] + dumps(_START, (major, minor, properties, mechanisms, locales))
        return changed


class _FromClient:
    """Changes methods that a client sends."""

    def __init__(self, version: str, declared: list[tuple[str, dict[str, Any]]]) -> None:
        self._since = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
        self._declared = declared

    def __call__(self, payload: bytes) -> bytes:
        method = _method(payload)
        if method == spec.Queue.Declare:
            *rest, arguments = loads(_DECLARE, payload, 4)[0]
            self._declared.append((rest[1], arguments))
            return self._changed(payload, _DECLARE, rest, arguments, self._queue_arguments(arguments))
        if method == spec.Basic.Consume and self._since < (3, 9):
            *rest, arguments = loads(_CONSUME, payload, 4)[0]
            left = {name: value for name, value in arguments.items() if name != "x-stream-offset"}
            return self._changed(payload, _CONSUME, rest, arguments, left)
        return payload

    def _queue_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        if self._since < (3, 8):
            return {name: value for name, value in arguments.items() if name not in UNKNOWN_TO_3_7}
        if self._since < (3, 9) and arguments.get("x-queue-type") == "stream":
            return {**arguments, "x-queue-type": _UNKNOWN_TYPE}
        return arguments

    @staticmethod
    def _changed(payload: bytes, form: str, rest: list[Any], before: dict[str, Any], after: dict[str, Any]) -> bytes:
        if after == before:
            return payload
        changed: bytes = payload[:4] + dumps(form, [*rest, after])
        return changed


def _method(payload: bytes) -> tuple[int, int]:
    """Return the ids of class and method."""
    numbers: tuple[int, int] = struct.unpack_from(">HH", payload)
    return numbers
