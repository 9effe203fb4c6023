"""The frames that a client has yet to receive: in order, whole, bounded, the close frame last.

The socket is a model that accepts any number of bytes.
"""

from __future__ import annotations

import socket
import time
from typing import Any

import gevent
import gevent.event
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from peatio_ws.close_codes import REASONS, Close
from peatio_ws.transport import outbox as room
from peatio_ws.transport.frames import PING, close_frame, frame_end, text_frame
from peatio_ws.transport.outbox import Outbox, flush_all, put_all, unwatch, watch
from tests.unit.samples import Wire, frames_in

PLENTY = 2**30
SIZES = st.integers(0, 300) | st.sampled_from([125, 126, 65_535, 65_536])


def outbox_on(wire: Any, limit: int = PLENTY, send_timeout: float = 3600.0) -> Outbox:
    return Outbox(wire, limit, send_timeout)


def let_write(outbox: Outbox) -> None:
    """Let the writer greenlet run until nothing waits."""
    for _ in range(100_000):
        if not outbox.size:
            return
        gevent.sleep(0)
    raise AssertionError("the writer does not come to an end")


# ---- frames


@given(SIZES)
def test_text_frame_follows_the_rfc(size: int) -> None:
    payload = b"x" * size
    assert text_frame(payload) == Frame(Opcode.TEXT, payload).serialize(mask=False)


@given(st.sampled_from([1000, 1001, 1012, 3000, 4401, 4999]), st.text())
def test_close_frame_has_its_code_and_the_reason_that_fits(code: int, reason: str) -> None:
    ((opcode, payload),) = frames_in(close_frame(code, reason))
    assert (opcode, int.from_bytes(payload[:2])) == (8, code)
    assert len(payload) <= 125
    said = payload[2:].decode()
    assert reason.startswith(said)
    assert said == reason or len(payload) > 121  # a character has at most four bytes


@given(st.lists(SIZES, min_size=1, max_size=6), st.data())
def test_end_of_a_queued_frame_is_found(sizes: list[int], data: st.DataObject) -> None:
    frames = [text_frame(b"x" * size) for size in sizes]
    ends = [sum(map(len, frames[: number + 1])) for number in range(len(frames))]
    at = data.draw(st.integers(0, ends[-1]))
    assert frame_end(b"".join(frames), at) == (min(end for end in ends if end >= at) if at else 0)


# ---- a socket that accepts everything


def test_queued_frames_are_sent_by_the_next_flush_in_one_write() -> None:
    offered: list[int] = []
    wire = Wire(lambda size: offered.append(size) or size)  # type: ignore[func-returns-value]
    outbox = outbox_on(wire)
    outbox.put(b"one")
    outbox.put(b"two")
    assert wire.taken == b""
    outbox.flush()
    outbox.flush()
    assert (wire.taken, offered) == (b"onetwo", [6])
    assert (outbox.size, outbox.sent) == (0, 6)


def test_room_is_half_of_the_limit_with_frames_that_are_not_flushed() -> None:
    accepts = True
    outbox = outbox_on(Wire(lambda offered: offered if accepts else 0), limit=100)
    for size in (30, 20):
        outbox.put(b"x" * size)
        assert outbox.has_room()
    outbox.put(b"x")
    assert not outbox.has_room()
    outbox.flush()
    assert outbox.has_room()
    accepts = False
    outbox.send(b"x" * 30)
    outbox.put(b"x" * 20)
    assert outbox.has_room()
    outbox.put(b"x")
    assert not outbox.has_room()
    outbox.abort()  # its writer would go on trying


def test_close_frame_is_last_and_after_queued_frames() -> None:
    wire = Wire()
    outbox = outbox_on(wire)
    outbox.put(text_frame(b"before"))
    outbox.close(Close.RESTART, "restart; retry after 3")
    outbox.put(text_frame(b"after"))
    put_all(text_frame(b"after"), [outbox], [])
    outbox.send(text_frame(b"after"))
    outbox.close(Close.NORMAL)
    assert wire.taken == text_frame(b"before") + close_frame(1012, "restart; retry after 3")
    assert outbox.closing == 1012


@pytest.mark.parametrize("code", Close)
def test_close_without_a_reason_has_its_codes_reason(code: Close) -> None:
    wire = Wire()
    outbox_on(wire).close(code)
    assert wire.taken == close_frame(code, REASONS[code])


def test_end_comes_after_queued_frames() -> None:
    wire = Wire()
    outbox = outbox_on(wire)
    outbox.put(b"last")
    outbox.end(1000)
    assert (wire.taken, wire.ended, outbox.closing) == (b"last", True, 1000)


def test_end_without_queued_frames_is_immediate() -> None:
    wire = Wire()
    outbox_on(wire).end(1000)
    assert wire.ended


# ---- a socket that accepts any number of bytes

STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "put to all", "send"]), SIZES)
    | st.tuples(st.sampled_from(["flush", "flush all", "switch"]), st.just(0))
    | st.tuples(st.just("ping"), st.just(0)),
    max_size=30,
)
TAKES = st.lists(st.integers(0, 400) | st.sampled_from([0, 1, 65_536, PLENTY]), min_size=1, max_size=8).filter(
    lambda takes: max(takes) >= 200  # or it takes too long
)


def unsteady(takes: list[int]) -> Any:
    """Accept these numbers of bytes in turn, endlessly."""
    turn = iter(range(10**9))
    return lambda offered: takes[next(turn) % len(takes)]


@given(steps=STEPS, takes=TAKES, tls=st.booleans(), cutting=st.booleans())
def test_frames_are_sent_once_and_in_order(
    steps: list[tuple[str, int]], takes: list[int], tls: bool, cutting: bool
) -> None:
    wire = Wire(unsteady(takes), tls)
    outbox, put, held = outbox_on(wire), b"", 0  # held: bytes queued since the last flush
    for number, (step, size) in enumerate(steps):
        frame = PING if step == "ping" else text_frame(b"%d" % number + b"x" * size)
        if step == "switch":
            gevent.sleep(0)
        elif step.startswith("flush"):
            outbox.flush() if step == "flush" else flush_all([outbox])
            held = 0
        elif step == "send":
            outbox.send(frame)
            put, held = put + frame, 0
        elif step == "put to all":
            touched: list[Outbox] = []
            put_all(frame, [outbox], touched)
            assert touched == ([] if held else [outbox]), "an outbox has to be listed once for each flush"
            put, held = put + frame, held + len(frame)
        else:
            outbox.put(frame)
            put, held = put + frame, held + len(frame)
        assert put.startswith(wire.taken)
        assert outbox.sent == len(wire.taken)
        assert outbox.size == len(put) - held - len(wire.taken), (
            "all frames before the last flush have to be on their way"
        )
    outbox.flush()
    assert outbox.size == len(put) - len(wire.taken)
    outbox.close(Close.RESTART, "bye", cut=cutting)
    let_write(outbox)
    last = close_frame(1012, "bye")
    if cutting:
        # Only whole frames may be missing before the close frame.
        assert wire.taken.endswith(last)
        assert put.startswith(wire.taken.removesuffix(last))
        frames_in(wire.taken)
    else:
        assert wire.taken == put + last


@given(takes=TAKES, sizes=st.lists(SIZES, min_size=1, max_size=20), limit=st.integers(1, 5000), tls=st.booleans())
def test_client_that_reads_too_little_is_closed(takes: list[int], sizes: list[int], limit: int, tls: bool) -> None:
    wire = Wire(unsteady(takes), tls)
    outbox, put = outbox_on(wire, limit), b""
    for size in sizes:
        waits_already = outbox.size > 0
        frame = text_frame(b"x" * size)
        outbox.send(frame)
        put += frame
        if waits_already and len(put) - len(wire.taken) > limit:
            assert outbox.closing == Close.TOO_SLOW
        if outbox.closing:
            break
    let_write(outbox)
    if outbox.closing:
        last = close_frame(4413, f"too slow: more than {limit} bytes waiting")
        assert wire.taken.endswith(last)
        assert put.startswith(wire.taken.removesuffix(last))
        frames_in(wire.taken)
        assert len(put) > limit
    else:
        assert wire.taken == put


# ---- watched outboxes

WATCHED_STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "put to all", "send"]), SIZES)
    | st.tuples(st.sampled_from(["flush", "flush all", "switch", "watch", "unwatch"]), st.just(0)),
    max_size=30,
)


@given(steps=WATCHED_STEPS, takes=TAKES, tls=st.booleans())
def test_watcher_sees_every_frame_that_is_sent_and_the_client_no_difference(
    steps: list[tuple[str, int]], takes: list[int], tls: bool
) -> None:
    wire, other = Wire(unsteady(takes), tls), Wire(unsteady(takes), tls)
    outbox, plain, seen = outbox_on(wire), outbox_on(other), list[bytes]()
    expected, held, watched = b"", b"", False
    for number, (step, size) in enumerate([*steps, ("flush", 0)]):
        frame = text_frame(b"%d" % number + b"x" * size)
        if step == "switch":
            gevent.sleep(0)
        elif step == "watch":
            watch(outbox, seen.append)
            watched = True
        elif step == "unwatch":
            unwatch(outbox)
            watched = False
        for one in (outbox, plain):
            if step == "flush":
                one.flush()
            elif step == "flush all":
                flush_all([one])
            elif step == "put to all":
                put_all(frame, [one], [])
            elif step in ("put", "send"):
                getattr(one, step)(frame)
        held += frame if step in ("put", "put to all", "send") else b""
        if step.startswith("flush") or step == "send":
            expected += held if watched else b""
            held = b""
    for one in (outbox, plain):
        one.close(Close.RESTART, "bye")
        let_write(one)
    assert b"".join(seen) == expected + (close_frame(1012, "bye") if watched else b"")
    assert (wire.taken, outbox.sent) == (other.taken, plain.sent)
    unwatch(outbox)
    assert type(outbox) is Outbox
    assert outbox not in room._watchers


def test_watcher_of_an_outbox_that_is_too_full_sees_the_close_frame_first() -> None:
    wire, seen = Wire(lambda offered: 0), list[bytes]()
    outbox = outbox_on(wire, limit=100)
    watch(outbox, seen.append)
    for frame in (text_frame(b"x" * 60), last := text_frame(b"y" * 60)):
        outbox.send(frame)
    assert seen[-2:] == [close_frame(4413, "too slow: more than 100 bytes waiting"), last]
    unwatch(outbox)
    unwatch(outbox)
    outbox.abort()


def test_client_may_be_slow_up_to_the_limit() -> None:
    wire = Wire(lambda offered: 0)
    outbox = outbox_on(wire, limit=100)
    for _ in range(100):
        outbox.send(b"x")
    assert outbox.closing == 0
    outbox.send(b"x")
    assert outbox.closing == Close.TOO_SLOW
    outbox.abort()


def test_end_waits_for_frames_of_a_slow_client() -> None:
    wire = Wire(unsteady([0, 1]))
    outbox = outbox_on(wire)
    outbox.send(b"much")
    outbox.end(1001)
    assert not wire.ended
    let_write(outbox)
    gevent.sleep(0)
    assert (wire.taken, wire.ended, outbox.closing) == (b"much", True, 1001)


@given(steps=STEPS, takes=TAKES, tls=st.booleans(), end=st.sampled_from(["close", "end", "abort"]))
def test_nothing_is_queued_after_the_end(steps: list[tuple[str, int]], takes: list[int], tls: bool, end: str) -> None:
    wire = Wire(unsteady(takes), tls)
    outbox, put = outbox_on(wire), b""
    for step, size in steps:
        if step in ("put", "send"):
            put += text_frame(b"x" * size)
            getattr(outbox, step)(text_frame(b"x" * size))
    {"close": lambda: outbox.close(1012, ""), "end": lambda: outbox.end(1012), "abort": outbox.abort}[end]()
    taken = wire.taken
    for step, _ in steps or [("put", 0)]:
        if step in ("put", "send"):
            assert not getattr(outbox, step)(text_frame(b"after"))
        elif step == "flush":
            outbox.flush()
    let_write(outbox)
    gevent.sleep(0)
    if end == "abort":
        assert (wire.taken, wire.ended, outbox.closing) == (taken, True, 1006)
    else:
        assert wire.taken == put + (close_frame(1012, "") if end == "close" else b"")
        assert (wire.ended, outbox.closing) == (end == "end", 1012)


# ---- a socket that breaks


class Broken(Wire):
    """Accepts a byte or a TLS record this many times, then is reset."""

    def __init__(self, good: int, tls: bool) -> None:
        super().__init__(lambda offered: 1, tls)
        self._good = good

    def take(self, data: bytes | memoryview) -> int:
        if not self._good:
            raise ConnectionResetError
        self._good -= 1
        return super().take(data)


@given(st.integers(0, 20), st.booleans(), st.integers(1, 5))
def test_reset_raises_no_error_and_drops_frames(good: int, tls: bool, pieces: int) -> None:
    good = min(good, pieces - 1) if tls else good  # each piece is a record
    wire = Broken(good, tls)
    outbox = outbox_on(wire)
    for _ in range(pieces):
        outbox.send(b"x" * 30)
    let_write(outbox)
    outbox.send(b"after")
    outbox.close(Close.NORMAL)
    assert (wire.taken, outbox.size, outbox.closing) == (b"x" * good * (30 if tls else 1), 0, 1006)


def test_abort_drops_queued_frames() -> None:
    wire = Wire(lambda offered: 0)
    outbox = outbox_on(wire)
    outbox.send(b"waiting")
    outbox.abort()
    outbox.abort()
    assert (wire.ended, wire.taken, outbox.size, outbox.closing) == (True, b"", 0, 1006)


# ---- a socket that accepts nothing more


class Stuck(Wire):
    """Accepts nothing, and reports when it is shut down."""

    def __init__(self) -> None:
        super().__init__(lambda offered: 0)
        self.shut = gevent.event.AsyncResult()
        self.offered: list[bytes] = []

    def send(self, data: memoryview) -> int:
        self.offered.append(bytes(data))
        gevent.event.Event().wait()
        raise AssertionError

    def shutdown(self, how: int) -> None:
        self.shut.set(how)


def test_client_that_reads_nothing_is_closed_and_then_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "CLOSE_SECONDS", 0.001)
    wire = Stuck()
    outbox = outbox_on(wire, send_timeout=0.001)
    outbox.send(text_frame(b"one"))
    outbox.send(text_frame(b"two"))
    assert wire.shut.get(timeout=10) == socket.SHUT_RDWR
    assert outbox.closing == Close.TOO_SLOW
    # "one" had been passed to the socket. "two" had not, and is replaced by the close frame.
    assert wire.offered == [text_frame(b"one")] * 2
    assert outbox.size == 0


def test_frame_queued_while_the_writer_stops_waiting_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LINGER", 0.02)
    takes = iter([0])
    wire = Wire(lambda offered: next(takes, offered))
    outbox = outbox_on(wire)
    outbox.send(b"one")
    let_write(outbox)
    gevent.sleep(0)
    other = gevent.spawn_later(0.02, outbox.send, b"two")
    gevent.sleep(0)
    busy_until = time.monotonic() + 0.05
    while time.monotonic() < busy_until:
        pass  # makes the put and the end of the wait due in the same turn of the loop
    other.join(10)
    for _ in range(100):
        gevent.sleep(0)
    outbox.send(b"three")
    for _ in range(100):
        gevent.sleep(0)
    assert (wire.taken, outbox.size) == (b"onetwothree", 0)


@pytest.mark.parametrize("tls", [False, True])
def test_limit_applies_to_a_single_batch(tls: bool) -> None:
    outbox = outbox_on(Wire(lambda offered: 0, tls), limit=100)
    for _ in range(101):
        outbox.put(b"x")
    outbox.flush()
    assert outbox.closing == Close.TOO_SLOW
    outbox.abort()
