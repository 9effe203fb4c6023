"""Subscribers of one order book, hundreds in one thread, that check every byte.

The publisher's messages are known in advance (`Market`), and the gateway passes increments on verbatim. So a follower
parses its first book, and from then on compares bytes with the expected ones. That is cheap enough for a quarter of a
million frames a second.
"""

from __future__ import annotations

import base64
import bisect
import json
import os
import random
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from peatio_ws.transport.frames import text_frame
from tests.support.gateway import Publisher

WAIT = 90.0
SNAPSHOT_EVERY = 180
"""Increments."""

Sides = dict[str, dict[str, str]]
"""`asks` and `bids`: price to volume."""

UNPINGED = {"WEBSOCKET_PING_INTERVAL": "600", "WEBSOCKET_PING_TIMEOUT": "1200"}
"""Settings of their gateway: followers compare every byte, and a test may take longer than the ping interval."""


class Market:
    """A book's changes, generated in advance.

    Args:
        name: of the streams, without `-snap` and `-inc`.
        count: how many increments there will be.

    Attributes:
        increments: bodies; the first has the sequence 1.
        stream: all of them as a subscriber reads them.
    """

    def __init__(self, name: str, count: int, levels: int = 400, seed: int = 1) -> None:
        self.name, self._random = name, random.Random(seed)
        self._first: Sides = {
            "asks": {f"{100 + number / 10:.2f}": f"{number % 7 + 1}.5" for number in range(levels)},
            "bids": {f"{99.9 - number / 10:.2f}": f"{number % 5 + 1}.25" for number in range(levels)},
        }
        self._changes = [self._change(levels) for _ in range(count)]
        self.increments = [self._body(number, change) for number, change in enumerate(self._changes, 1)]
        frames = [text_frame(b'{"%b-inc":%b}' % (name.encode(), body)) for body in self.increments]
        self.stream = b"".join(frames)
        self._ends = [0]
        for frame in frames:
            self._ends.append(self._ends[-1] + len(frame))

    @property
    def last(self) -> int:
        return len(self.increments)

    def after(self, sequence: int) -> int:
        """Return where in `stream` the increment after this one begins."""
        return self._ends[sequence]

    def whole_frames(self, at: int, size: int) -> int:
        """Return how many of these bytes of `stream` belong to frames that end among them. If none does, return how far
        the frame began before, as a negative number."""
        return self._ends[bisect.bisect_right(self._ends, at + size) - 1] - at

    def books(self, sequences: Iterable[int]) -> dict[int, Sides]:
        """Return the book right after each of these increments."""
        wanted, found = set(sequences), dict[int, Sides]()
        book: Sides = {side: dict(rows) for side, rows in self._first.items()}
        for sequence in range(self.last + 1):
            if sequence:
                apply(book, self._changes[sequence - 1])
            if sequence in wanted:
                found[sequence] = {side: dict(rows) for side, rows in book.items()}
        return found

    def snapshots(self, sequences: Iterable[int]) -> dict[int, bytes]:
        """Return the publisher's snapshots of the whole book: unordered, as Peatio's may be."""
        bodies = {}
        for sequence, book in self.books(sequences).items():
            rows = {side: [list(row) for row in reversed(levels.items())] for side, levels in book.items()}
            bodies[sequence] = json.dumps({**rows, "sequence": sequence}).encode()
        return bodies

    def _change(self, levels: int) -> dict[str, list[list[str]]]:
        change: dict[str, list[list[str]]] = {}
        for side in self._random.choice((("asks",), ("bids",), ("asks", "bids"))):
            rows = []
            for _ in range(self._random.choice((1, 1, 1, 2, 5))):
                step = self._random.randrange(levels + 20) / 10
                price = 100 + step if side == "asks" else 99.9 - step
                # The same price with other digits is the same price.
                text = f"{price:.2f}" if self._random.random() < 0.7 else f"{price:.4f}"
                rows.append([text, self._random.choice(("0", "0.0", "1.5", "2", f"{self._random.random():.8f}"))])
            change[side] = rows
        return change

    def _body(self, sequence: int, change: dict[str, list[list[str]]]) -> bytes:
        flat = self._random.random() < 0.5
        sides = {side: rows[0] if flat and len(rows) == 1 else rows for side, rows in change.items()}
        return json.dumps({**sides, "sequence": sequence}).encode()


def apply(book: Sides, change: dict[str, Any]) -> None:
    """Apply an increment as a client does."""
    for side in ("asks", "bids"):
        rows = change.get(side) or []
        for price, volume in [rows] if rows and isinstance(rows[0], str) else rows:
            book[side].pop(_plain(price), None)
            if float(volume):
                book[side][_plain(price)] = volume


def _plain(price: str) -> str:
    return f"{float(price):.2f}"


def sides(body: dict[str, Any]) -> Sides:
    """Return a book as a client reads it. Checks that its levels are in order."""
    asks, bids = body["asks"], body["bids"]
    assert asks == sorted(asks, key=lambda row: float(row[0]))
    assert bids == sorted(bids, key=lambda row: -float(row[0]))
    found = {"asks": {_plain(price): volume for price, volume in asks}}
    found["bids"] = {_plain(price): volume for price, volume in bids}
    assert (len(found["asks"]), len(found["bids"])) == (len(asks), len(bids)), "two levels have the same price"
    return found


class Follower:
    """One connection subscribed to a market's `-inc`.

    Args:
        by_message: subscribe with a message instead of the query.
        again: whether the gateway may send the book again. A worker that starts does that if it finds a newer book, or
            after the book of a worker that lags: then increments are missing until the book comes again.

    Attributes:
        book: the book that it received last; None before the first.
        sequence: the sequence of that book.
        fault: what was wrong with the frames; None if nothing was.
        began, opened, served: monotonic times of the connection attempt, the 101 and the book; 0 before.
    """

    def __init__(self, market: Market, port: int, by_message: bool = False, again: bool = False) -> None:
        self.market, self._by_message, self._again = market, by_message, again
        self.book: Sides | None = None
        self.sequence = -1
        self.fault: str | None = None
        self.ended = self._subscribed = False
        self.began, self.opened, self.served = time.monotonic(), 0.0, 0.0
        self._buffer, self._at = b"", 0
        self._lacks_some = False  # increments were missing, and no book has come since
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=WAIT)
        key = base64.b64encode(os.urandom(16)).decode()
        path = "public" if by_message else f"public?stream={market.name}-inc"
        self.sock.sendall(
            f"GET /{path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self.sock.setblocking(False)

    def __str__(self) -> str:
        """Return what it has and lacks."""
        left = len(self.market.stream) - self._at
        lacks = ", lacks some" if self._lacks_some else ""
        book = "no book" if self.book is None else f"book {self.sequence}, {left} bytes left, {len(self._buffer)} read"
        return f"{self.sock.getpeername()[1] if not self.ended else 'ended'}: {book}{lacks}"

    @property
    def waits(self) -> bool:
        """Return whether it has subscribed and has no book yet."""
        return self._subscribed and self.book is None

    @property
    def done(self) -> bool:
        """Return whether it has all increments of the market."""
        return self.book is not None and self._at == len(self.market.stream) and not self._lacks_some

    def has(self, sequence: int) -> bool:
        """Return whether it has all increments up to this one."""
        return self.book is not None and self._at >= self.market.after(sequence)

    def read(self) -> None:
        """Read what has arrived."""
        try:
            data = self.sock.recv(262_144)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.ended = True
        elif self.book is None or not self._subscribed or self._buffer:
            self._buffer += data
            self._begin()
        else:
            self._compare(data)

    def _begin(self) -> None:
        """Read the answer to the request, then the book and the reply to the subscription in any order."""
        if self.book is not None and self._subscribed:
            self._resume()
            return
        if not self.opened:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            if not head.startswith(b"HTTP/1.1 101 "):
                self.fault = head.decode()
                return
            self.opened, self._buffer = time.monotonic(), rest
            if self._by_message:
                message = json.dumps({"event": "subscribe", "streams": [f"{self.market.name}-inc"]}).encode()
                self.sock.sendall(bytes((0x81, 0x80 | len(message), 0, 0, 0, 0)) + message)
        while (self.book is None or not self._subscribed) and (payload := self._next()) is not None:
            self._first(json.loads(payload))
        if self.book is not None and self._subscribed:
            data, self._buffer = self._buffer, b""
            self._compare(data)

    def _first(self, frame: dict[str, Any]) -> None:
        name = f"{self.market.name}-snap"
        if name in frame and self.book is None:
            self.served, self.sequence = time.monotonic(), frame[name]["sequence"]
            self.book, self._at = sides(frame[name]), self.market.after(self.sequence)
        elif frame.get("success", {}).get("streams") == [f"{self.market.name}-inc"]:
            self._subscribed = True
        elif f"{self.market.name}-inc" in frame and self.book is not None:
            # The book comes before the reply if the reply waits for the client.
            self._compare(text_frame(json.dumps(frame).encode()))
        elif frame != {"success": {"message": "subscribed", "streams": []}}:
            self.fault = f"came first: {json.dumps(frame)[:200]}"

    def _compare(self, data: bytes) -> None:
        due = self.market.stream[self._at : self._at + len(data)]
        if self._again and data != due:
            size = next(
                (at for at, (came, comes) in enumerate(zip(data, due, strict=False)) if came != comes), len(due)
            )
            same = self.market.whole_frames(self._at, size)
            # The bytes before, if there are some: they are the same at the beginning of both frames.
            self._buffer = self.market.stream[self._at + min(same, 0) : self._at] + data[max(same, 0) :]
            self._at += same
            self._resume()
            return
        if data != due and self.fault is None:
            pairs = enumerate(zip(data, due, strict=False))
            place = next((at for at, (came, comes) in pairs if came != comes), len(due))
            near = slice(max(0, place - 40), place + 60)
            self.fault = f"{data[near]!r} where {due[near]!r} was due"
        self._at += len(data)

    def _resume(self) -> None:
        """Read a frame that is not the due one: the book again, or an increment after a gap, until the book comes."""
        if (payload := self._next()) is None:
            return  # the rest of the frame comes later
        snap, inc = (json.loads(payload).get(f"{self.market.name}-{kind}") for kind in ("snap", "inc"))
        if snap is not None:
            self.sequence, self.book, self._lacks_some = snap["sequence"], sides(snap), False
            self._at = self.market.after(self.sequence)
        elif inc is not None and self.market.after(inc["sequence"] - 1) > self._at:
            self._at, self._lacks_some = self.market.after(inc["sequence"] - 1), True
            self._buffer = text_frame(payload) + self._buffer
        elif self.fault is None:
            self.fault = f"neither due nor a book nor newer: {payload[:100]!r}"
        data, self._buffer = self._buffer, b""
        if data and self.fault is None:
            self._compare(data)

    def _next(self) -> bytes | None:
        """Take the payload of the next text frame out of the buffer."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        size, skip = buffer[1], 2
        if size == 126:
            size, skip = int.from_bytes(buffer[2:4]), 4
        elif size == 127:
            size, skip = int.from_bytes(buffer[2:10]), 10
        if len(buffer) < skip + size:
            return None
        self._buffer = buffer[skip + size :]
        if buffer[0] != 0x81:
            self.fault = f"a frame that is not a text: {buffer[:80]!r}"
        return buffer[skip : skip + size]


class Followers:
    """All followers of a test, read together. `again`: see `Follower`."""

    def __init__(self, market: Market, again: bool = False) -> None:
        self.market, self._again = market, again
        self.all: list[Follower] = []
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Followers:
        return self

    def __exit__(self, *_: object) -> None:
        for follower in self.all:
            follower.sock.close()
        self._selector.close()

    def join(self, port: int, by_message: bool = False) -> Follower:
        follower = Follower(self.market, port, by_message, self._again)
        self.all.append(follower)
        self._selector.register(follower.sock, selectors.EVENT_READ, follower)
        return follower

    def leave(self, follower: Follower) -> None:
        """Disconnect without a close frame."""
        if not follower.ended:
            self._selector.unregister(follower.sock)
        follower.sock.close()
        self.all.remove(follower)

    def turn(self, seconds: float = 0.05) -> None:
        """Read what arrives within this many seconds."""
        for key, _ in self._selector.select(seconds):
            key.data.read()
            if key.data.ended:
                self._selector.unregister(key.fileobj)

    def until(self, check: Callable[[], bool], what: str, seconds: float = WAIT) -> None:
        """Read until `check` is true.

        Raises TimeoutError naming `what`, or AssertionError if a follower read something wrong.
        """
        deadline = time.monotonic() + seconds
        while not check():
            self.check_faults()
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds} s: {what}; {Counter(map(str, self.all))}")
            self.turn()

    def keep_up(self, feed: Feeding) -> None:
        """Hold the feed until every follower has all published increments. Otherwise a worker that is far behind would
        pass on an old book."""
        feed.hold()
        self.until(lambda: all(one.has(feed.sent) for one in self.all if not one.ended), "everybody has it so far")

    def check_faults(self) -> None:
        faults = [follower.fault for follower in self.all if follower.fault]
        assert not faults, f"{len(faults)} of {len(self.all)}: {faults[:3]}"

    def check_books(self) -> None:
        """Check that every first book was the market's at that moment. Later frames have been compared already."""
        self.check_faults()
        books = self.market.books(follower.sequence for follower in self.all)
        for follower in self.all:
            assert follower.book is not None
            due = books[follower.sequence]
            assert follower.book.keys() == due.keys()
            for side, rows in due.items():
                assert {p: float(v) for p, v in follower.book[side].items()} == {p: float(v) for p, v in rows.items()}


class Feeding:
    """A thread that publishes a market's changes at a steady pace.

    Args:
        snapshots: after which increments a snapshot is published, too; by default at intervals.
        until: the last increment that is published before `go_on` names a later one; by default all are.

    Attributes:
        sent: sequence of the last increment that was published.
    """

    def __init__(
        self, url: str, market: Market, rate: int, snapshots: Iterable[int] | None = None, until: int | None = None
    ) -> None:
        self._url, self._market, self._rate = url, market, rate
        self._until = market.last if until is None else until
        every = range(SNAPSHOT_EVERY, market.last, SNAPSHOT_EVERY)
        self._snapshots = market.snapshots(every if snapshots is None else snapshots)
        self.sent = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Feeding:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def hold(self) -> None:
        """Publish nothing more until `go_on`."""
        self._until = self.sent

    def go_on(self, until: int | None = None) -> None:
        """Continue up to this increment, or to the last one."""
        self._until = self._market.last if until is None else until

    def _run(self) -> None:
        key = f"public.{self._market.name}"
        with Publisher(self._url, confirm=False) as publisher:
            looked, due = time.monotonic(), 0.0
            while not self._over.is_set() and self.sent < self._market.last:
                now = time.monotonic()
                due, looked = max(due, min(due + (now - looked) * self._rate, self._until)), now
                for number in range(self.sent, int(due)):
                    publisher.event(f"{key}-inc", self._market.increments[number])
                    if number + 1 in self._snapshots:
                        publisher.event(f"{key}-snap", self._snapshots[number + 1])
                self.sent = int(due)
                self._over.wait(0.002)
