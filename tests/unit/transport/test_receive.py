"""The bytes of one client, over a pair of sockets, TLS or not."""

from __future__ import annotations

import contextlib
import functools
import gc
import ssl
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import gevent.event
import gevent.socket
import gevent.ssl
import pytest

from peatio_ws.transport.outbox import Outbox
from peatio_ws.transport.receive import NOTHING_YET, READ_BYTES, RELEASE_PAUSE, RELEASED_AT_ONCE, Idle, Reader, receive
from tests.support.certificate import Certificate

LIMIT = 30
"""Seconds after which a test that waits is given up."""

Sockets = tuple[Any, Any]
"""The server's and the client's."""


@pytest.fixture(params=["plain", "tls"])
def sockets(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sockets]:
    mine, theirs = gevent.socket.socketpair()
    with gevent.Timeout(LIMIT):
        if request.param == "tls":
            made = Certificate(tmp_path)
            server = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            server.load_cert_chain(made.cert, made.key)
            trusting = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            trusting.load_verify_locations(made.cert)
            shaking = gevent.spawn(trusting.wrap_socket, theirs, server_hostname="localhost")
            mine, theirs = server.wrap_socket(mine, server_side=True), shaking.get()
        with mine, theirs:
            yield mine, theirs


def waiting_for(sock: Any) -> gevent.Greenlet:
    """A greenlet that waits in `receive`."""
    reader = gevent.spawn(receive, sock)
    while sock._read_event.callback is None:
        gevent.sleep(0)
    return reader


def test_waits_for_what_the_client_sends(sockets: Sockets) -> None:
    mine, client = sockets
    reader = waiting_for(mine)
    client.sendall(b"at last")
    assert reader.get() == b"at last"


def test_returns_at_most_a_record_and_then_the_rest(sockets: Sockets) -> None:
    mine, client = sockets
    sent = bytes(range(256)) * 200
    sending = gevent.spawn(client.sendall, sent)
    got: list[bytes] = []
    while sum(map(len, got)) < len(sent):
        got.append(receive(mine))
    sending.get()
    assert b"".join(got) == sent
    assert max(map(len, got)) <= READ_BYTES


def test_the_end_is_no_bytes(sockets: Sockets) -> None:
    mine, client = sockets
    reader = waiting_for(mine)
    client.close()
    assert reader.get() == b""


def waits_of_the_socket() -> list[BaseException]:
    """All exceptions in memory that say that a socket has nothing to read."""
    # By its type, because isinstance() would look through a library's weak proxy whose object is gone.
    return [one for one in gc.get_objects() if issubclass(type(one), ssl.SSLWantReadError | BlockingIOError)]


def test_an_idle_connection_keeps_no_exception(sockets: Sockets) -> None:
    mine, client = sockets
    of_other_tests = waits_of_the_socket()
    reader = waiting_for(mine)
    assert [one for one in waits_of_the_socket() if all(one is not other for other in of_other_tests)] == []
    client.sendall(b"bye")
    assert reader.get() == b"bye"


def test_a_time_limit_around_it_loses_nothing(sockets: Sockets) -> None:
    mine, client = sockets
    with pytest.raises(TimeoutError), gevent.Timeout(0.01, TimeoutError("the handler's")):
        receive(mine)
    client.sendall(b"later")
    assert receive(mine) == b"later"


def test_receive_now_returns_what_there_is(sockets: Sockets) -> None:
    mine, client = sockets
    reader = Reader(mine)
    for _ in range(2):
        with pytest.raises(NOTHING_YET):
            reader.receive_now()
    client.sendall(b"now")
    while not reader.unread():
        gevent.sleep(0.001)
    assert reader.receive_now() == b"now"
    waiting = gevent.spawn(reader.receive)
    gevent.idle()
    client.sendall(b"later")
    assert waiting.get() == b"later"


# ---- without a greenlet


class Served:
    """A connection that adds what it receives to `got`, and handles `Idle` unless told otherwise.

    Attributes:
        greenlets: those in which it ran.
        got: received bytes; empty ones are the end.
    """

    def __init__(self, sock: Any, handles_idle: bool = True) -> None:
        self.sock, self.reader = sock, Reader(sock)
        self.greenlets, self.got = list[weakref.ref[Any]](), list[bytes]()
        self.reader.start(self.run, handles_idle)
        self.until(self.is_waiting)

    def run(self) -> None:
        self.greenlets.append(weakref.ref(gevent.getcurrent()))
        try:
            while not self.got or self.got[-1]:
                self.got.append(self.reader.receive())
        except Idle:
            self.reader.wait_idle()

    def is_waiting(self) -> bool:
        return self.sock._read_event.callback is not None and self.reader._waits

    def alive(self) -> int:
        """Number of its greenlets that are in memory."""
        return sum(greenlet() is not None for greenlet in self.greenlets)

    @staticmethod
    def until(condition: Callable[[], bool]) -> None:
        while not condition():
            gevent.sleep(0.001)

    def idle(self) -> None:
        """Release the greenlet, and wait until it is freed."""
        self.reader.release_greenlet()
        self.until(lambda: not self.alive())


def test_an_idle_client_has_no_greenlet_until_it_sends(sockets: Sockets) -> None:
    mine, client = sockets
    gc.disable()  # no cycle may keep the greenlet, or an exception
    try:
        of_other_tests = waits_of_the_socket()
        served = Served(mine)
        for number in range(1, 4):
            served.idle()
            assert [one for one in waits_of_the_socket() if all(one is not other for other in of_other_tests)] == []
            client.sendall(b"%d" % number)
            served.until(lambda: len(served.got) == number and served.is_waiting())  # noqa: B023
            assert served.alive() == 1
    finally:
        gc.enable()
    served.idle()
    client.close()
    served.until(lambda: served.got[-1] == b"")
    assert served.got == [b"1", b"2", b"3", b""]
    assert len(served.greenlets) == 5


def test_bytes_that_arrive_with_the_release_are_received(sockets: Sockets) -> None:
    mine, client = sockets
    served = Served(mine)
    for number in range(50):
        client.sendall(b"a")
        if number % 2:
            gevent.sleep(0)
        served.reader.release_greenlet()
        served.reader.release_greenlet()
        served.until(lambda: sum(map(len, served.got)) == number + 1)  # noqa: B023
    client.close()
    served.until(lambda: served.got[-1] == b"")


def test_only_a_greenlet_that_waits_and_handles_idle_is_released(sockets: Sockets) -> None:
    mine, client = sockets
    served = Served(mine, handles_idle=False)
    served.reader.release_greenlet()
    gevent.idle()
    assert served.alive() == 1
    client.sendall(b"1")
    served.until(lambda: served.got == [b"1"])

    busy, other = gevent.event.Event(), Reader(mine)
    other.start(busy.wait, handles_idle=True)
    gevent.idle()
    other.release_greenlet()
    gevent.get_hub().loop.run_callback(other.raise_idle)  # as if it had waited until now
    gevent.idle()
    assert other._greenlet is not None
    assert not other._greenlet.dead
    busy.set()
    other._greenlet.get()


def test_an_ended_reader_starts_no_greenlet(sockets: Sockets) -> None:
    mine, client = sockets
    served = Served(mine)
    served.idle()
    served.reader.end()
    client.sendall(b"late")
    served.until(lambda: not mine._read_event.active)
    gevent.idle()
    assert len(served.greenlets) == 1


def test_idle_client_that_is_cut_off_ends_without_a_traceback(
    sockets: Sockets, capfd: pytest.CaptureFixture[str]
) -> None:
    mine, _ = sockets
    served = Served(mine)
    served.idle()
    Outbox(mine, limit=1000, send_timeout=1.0).abort()
    served.until(lambda: served.got == [b""])
    gevent.idle()
    assert capfd.readouterr().err == ""


class Crowd:
    """Clients that wait in `receive`, and a clock that stops while greenlets end.

    Attributes:
        readers: three groups of clients.
        ended: number of greenlets that have ended.
        pauses: seconds of each pause, and `ended` at its end.
        on_pause: called at the end of each pause.
    """

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.ended, self.pauses, self.readers = 0, list[tuple[float, int]](), list[Reader]()
        self.on_pause: Callable[[], object] = lambda: None
        for _ in range(3 * RELEASED_AT_ONCE):
            mine, _client = (stack.enter_context(sock) for sock in gevent.socket.socketpair())
            self.readers.append(Reader(mine))
            self.readers[-1].start(functools.partial(self._wait, self.readers[-1]), handles_idle=True)
        gevent.idle()

    def _wait(self, reader: Reader) -> None:
        try:
            reader.receive()
        except Idle:
            self.ended += 1

    def sleep(self, seconds: float) -> None:
        gevent.idle()  # the greenlets end that were asked to
        self.pauses.append((seconds, self.ended))
        self.on_pause()

    def wait(self) -> None:
        """Wait until all have ended, and the last pause is over."""
        with gevent.Timeout(LIMIT):
            while not self.pauses or self.pauses[-1][1] < len(self.readers):
                gevent.idle()


@pytest.fixture
def crowd(monkeypatch: pytest.MonkeyPatch) -> Iterator[Crowd]:
    with contextlib.ExitStack() as stack:
        made = Crowd(stack)
        steered = SimpleNamespace(sleep=made.sleep, spawn=gevent.spawn, get_hub=gevent.get_hub)
        monkeypatch.setattr("peatio_ws.transport.receive.gevent", steered)
        yield made


A_GROUP_PER_PAUSE = [(RELEASE_PAUSE, number * RELEASED_AT_ONCE) for number in (1, 2, 3)]


def test_greenlets_of_many_clients_end_a_few_at_a_time(crowd: Crowd) -> None:
    for reader in (*crowd.readers, *crowd.readers):  # the keeper asks again as long as they wait
        reader.release_greenlet()
    crowd.wait()
    assert crowd.pauses == A_GROUP_PER_PAUSE


def test_clients_that_become_idle_during_a_pause_wait_for_its_end(crowd: Crowd) -> None:
    first, rest = crowd.readers[:RELEASED_AT_ONCE], crowd.readers[RELEASED_AT_ONCE:]
    crowd.on_pause = lambda: [reader.release_greenlet() for reader in rest]
    for reader in first:
        reader.release_greenlet()
    crowd.wait()
    assert crowd.pauses == A_GROUP_PER_PAUSE
