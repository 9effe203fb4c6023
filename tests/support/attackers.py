"""The attackers of `tests.programs.attack`: a process with many connections that send prepared bytes as fast as they
can.

    python -m tests.support.attackers '{"port": 8080, "attacks": ["pongs"], "first": 0, "connections": 100, "given": {},
    "tls": false, "idle": true}'

A connection that ends is replaced one to two seconds later. The process prints `ready` once every connection has been
answered, or after a while. It continues until its standard input ends, then prints how many connections were opened,
accepted, and closed by the gateway.
"""

from __future__ import annotations

import errno
import heapq
import itertools
import json
import os
import random
import select
import socket
import ssl
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.support.attacks import ATTACKS, BARE, Script
from tests.support.tls_records import TlsClient

READY_SECONDS = 2.0
COMES_BACK = (1.0, 2.0)
TICK = 0.05
AT_ONCE = 65_536
RECORDS = 100
"""TLS records that are encrypted at a time."""


class Attacker:
    """A connection and its replacements."""

    def __init__(self, crowd: Crowd, script: Script, tls: ssl.SSLContext | None) -> None:
        self._crowd, self._script, self._tls = crowd, script, tls
        self.answered = script.slowly or not script.request.endswith(
            b"\r\n\r\n"
        )  # True from the start if no answer is expected
        self._opened = 0.0

    def open(self, now: float) -> None:
        self._opened = now
        self._sock: Any = socket.socket()
        self._sock.setblocking(False)
        if not self._script.reads:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._sock.connect_ex(("127.0.0.1", self._crowd.port))
        self._shaken = self._tls is None
        self._accepted = False
        self._head = b""
        self._waiting = memoryview(b"" if self._script.slowly else self._script.request)
        self._sent_of_request = 0
        self._budget, self._since = 0.0, now
        self.fd = self._sock.fileno()
        self._crowd.opened += 1
        self._crowd.add(self)

    def tick(self, now: float) -> None:
        """Send what is due by now."""
        script = self._script
        if script.lasts and now - self._opened > script.lasts and self._accepted:
            self.end(now)
            return
        if script.slowly and not self._accepted and self._sent_of_request < len(script.request):
            self._waiting = memoryview(script.request[self._sent_of_request : self._sent_of_request + 1])
            self._sent_of_request += 1
        elif self._accepted and script.frames:
            self._budget = min(self._budget + (now - self._since) * script.rate, float(AT_ONCE))
            self._since = now
        self.send(now)

    def send(self, now: float) -> None:
        script = self._script
        try:
            if not self._shake():
                return
            while self._waiting or (self._accepted and script.frames and self._budget > 0):
                if not self._waiting:
                    self._waiting = memoryview(self._more())
                sent = self._sock.send(self._waiting)
                self._waiting = self._waiting[sent:]
                self._budget -= sent if self._accepted else 0
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError as error:
            if error.errno not in (errno.ENOTCONN, errno.EINPROGRESS):
                self.lost(now)

    def _more(self) -> bytes:
        """Return what to send next."""
        return self._script.frames

    def read(self, now: float) -> None:
        try:
            if not self._shake():
                return
            data = self._sock.recv(AT_ONCE)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError:
            data = b""
        if not data:
            self.lost(now)
        elif not self._accepted:
            self._head += data
            if b"\r\n\r\n" in self._head:
                self.answered = True
                if self._head.startswith(b"HTTP/1.1 101"):
                    self._accepted, self._since = True, now
                    self._crowd.accepted += 1
                    self._waiting = memoryview(self._script.first)
                    if not self._script.reads:
                        self._crowd.ignore(self)
                self._head = b""

    def _shake(self) -> bool:
        if not self._shaken:
            if not isinstance(self._sock, ssl.SSLSocket):
                self._sock.getpeername()  # not connected yet
                assert self._tls is not None
                self._sock = self._tls.wrap_socket(
                    self._sock, server_hostname="localhost", do_handshake_on_connect=False, suppress_ragged_eofs=True
                )
            self._sock.do_handshake()
            self._shaken = True
        return True

    def lost(self, now: float) -> None:
        """Handle a connection that the gateway has closed."""
        self._crowd.ended += 1
        self.end(now)

    def end(self, now: float) -> None:
        self.answered = True
        self._crowd.remove(self)
        self._sock.close()
        self._crowd.come_back(self, now + random.uniform(*COMES_BACK))


class RecordAttacker(Attacker):
    """An attacker whose TLS records are not data (`tls_records.py`)."""

    def __init__(self, crowd: Crowd, script: Script, folder: Path) -> None:
        super().__init__(crowd, script, None)
        self._folder = folder

    def open(self, now: float) -> None:
        """Connect and upgrade, which waits for the gateway."""
        assert self._script.records is not None
        version, self._kind = self._script.records
        self._crowd.opened += 1
        try:
            self._client = TlsClient(self._crowd.port, _trusting(), version, self._folder)
            self._client.send(self._client.record(self._script.request))
            self._accepted = self._client.read().startswith(b"HTTP/1.1 101")
        except OSError:
            self._crowd.come_back(self, now + random.uniform(*COMES_BACK))
            return
        self._sock = self._client.sock
        self._sock.setblocking(False)
        self.answered, self._shaken, self._waiting, self._head = True, True, memoryview(b""), b""
        self._opened = self._since = time.monotonic()
        self._budget = 0.0
        self.fd = self._sock.fileno()
        self._crowd.accepted += self._accepted
        self._crowd.add(self)

    def _more(self) -> bytes:
        return b"".join(self._client.record(self._script.frames, self._kind) for _ in range(RECORDS))


class Crowd:
    """All connections of this process."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.opened = self.accepted = self.ended = 0
        self._poll = select.epoll()
        self._open: dict[int, Attacker] = {}
        self._later: list[tuple[float, int, Attacker]] = []
        self._order = itertools.count()

    def add(self, attacker: Attacker) -> None:
        self._open[attacker.fd] = attacker
        self._poll.register(attacker.fd, select.EPOLLIN)

    def ignore(self, attacker: Attacker) -> None:
        """Stop reading it."""
        self._poll.modify(attacker.fd, 0)

    def remove(self, attacker: Attacker) -> None:
        self._open.pop(attacker.fd, None)
        self._poll.unregister(attacker.fd)

    def come_back(self, attacker: Attacker, when: float) -> None:
        heapq.heappush(self._later, (when, next(self._order), attacker))

    def run(self, attackers: list[Attacker]) -> None:
        """Attack until standard input ends."""
        began = time.monotonic()
        for attacker in attackers:
            self.come_back(attacker, began)
        self._poll.register(sys.stdin.fileno(), select.EPOLLIN | select.EPOLLHUP)
        ready, next_tick = False, began
        while True:
            now = time.monotonic()
            while self._later and self._later[0][0] <= now:
                heapq.heappop(self._later)[2].open(now)
            if now >= next_tick:
                next_tick = now + TICK
                for attacker in list(self._open.values()):
                    attacker.tick(now)
            if not ready and (all(one.answered for one in attackers) or now - began > READY_SECONDS):
                ready = True
                print("ready", flush=True)
            for fd, _ in self._poll.poll(max(0.0, min(TICK, next_tick - time.monotonic()))):
                if fd == sys.stdin.fileno():
                    return
                if fd in self._open:
                    self._open[fd].read(time.monotonic())


def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def main() -> None:
    orders = json.loads(sys.argv[1])
    if orders["idle"]:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # the gateway and its members have priority
    crowd = Crowd(orders["port"])
    context = _trusting() if orders["tls"] else None
    attackers: list[Attacker] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in orders["attacks"]:
            for number in range(orders["first"], orders["first"] + orders["connections"]):
                script = ATTACKS[name](number, orders["given"])
                if script.records:
                    attackers.append(RecordAttacker(crowd, script, Path(folder)))
                else:
                    attackers.append(Attacker(crowd, script, None if name in BARE else context))
        crowd.run(attackers)
    print(json.dumps({"opened": crowd.opened, "accepted": crowd.accepted, "ended": crowd.ended}), flush=True)


if __name__ == "__main__":
    main()
