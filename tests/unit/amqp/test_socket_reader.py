"""How the reader waits for the broker's socket, with real sockets and a real event loop. Nothing depends on time."""

from __future__ import annotations

from collections.abc import Iterator

import gevent
import gevent.socket
import pytest

from peatio_ws.amqp.socket_reader import SocketReader

LIMIT = 30.0
SIZE = 1000


class Pair:
    """A socket under test and its other end."""

    def __init__(self) -> None:
        self.near, self.far = gevent.socket.socketpair()
        self.reader = SocketReader(self.near, self.near._sock.recv)

    def close(self) -> None:
        self.reader.close()
        self.near.close()
        self.far.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    with gevent.Timeout(LIMIT):
        yield made
    made.close()


def iteration() -> int:
    """Return the number of the loop's current iteration."""
    return int(gevent.get_hub().loop.iteration)


def run_loop(times: int = 5) -> None:
    """Run the loop several times, each time with a check of all sockets."""
    for _ in range(times):
        gevent.sleep(1e-6)


def test_waiting_data_is_read_at_once(pair: Pair) -> None:
    pair.far.sendall(b"one")
    before = iteration()
    assert pair.reader.recv(SIZE) == b"one"
    assert iteration() == before


def test_read_waits_for_data(pair: Pair) -> None:
    reading = gevent.spawn(pair.reader.recv, SIZE)
    run_loop()
    assert not reading.ready()
    pair.far.sendall(b"one")
    assert reading.get() == b"one"


def test_end_of_the_connection_is_read_as_empty_bytes(pair: Pair) -> None:
    reading = gevent.spawn(pair.reader.recv, SIZE)
    run_loop()
    pair.far.close()
    assert reading.get() == b""


def test_steady_stream_lets_others_run_between_reads(pair: Pair) -> None:
    """There is always something to read, and yet the loop checks all other sockets before the next read."""
    turns = list[int]()

    def read() -> None:
        for _ in range(100):
            pair.reader.recv(SIZE)
            turns.append(iteration())
            pair.far.sendall(b"more")

    pair.far.sendall(b"more")
    gevent.spawn(read).join()
    assert len(set(turns)) == 100, "several reads in one iteration of the loop"


def test_rest_of_the_data_is_read_without_a_wait(pair: Pair) -> None:
    pair.far.sendall(b"x" * (SIZE + 1))
    before = iteration()
    assert len(pair.reader.recv(SIZE)) == SIZE
    assert len(pair.reader.recv(SIZE)) == 1
    assert iteration() == before


def test_loop_is_idle_while_nothing_reads(pair: Pair) -> None:
    pair.far.sendall(b"one")
    pair.reader.recv(SIZE)
    reading = gevent.spawn(pair.reader.recv, SIZE)
    pair.far.sendall(b"two")
    assert reading.get() == b"two"
    pair.far.sendall(b"three")
    run_loop()
    assert not pair.reader._watcher.active
    assert pair.reader.recv(SIZE) == b"three"


def test_error_thrown_at_a_waiting_reader_reaches_it(pair: Pair) -> None:
    reading = gevent.spawn(pair.reader.recv, SIZE)
    run_loop()
    gevent.kill(reading, ConnectionError("no heartbeat"))
    reading.join()
    assert isinstance(reading.exception, ConnectionError)
    pair.far.sendall(b"one")
    assert pair.reader.recv(SIZE) == b"one"


def test_reader_uses_the_sockets_timeout(pair: Pair) -> None:
    pair.near.settimeout(0.001)
    with pytest.raises(TimeoutError):
        pair.reader.recv(SIZE)
    pair.far.sendall(b"one")
    pair.near.settimeout(LIMIT)
    assert pair.reader.recv(SIZE) == b"one"


def test_closed_connection_ends_a_waiting_read(pair: Pair) -> None:
    reading = gevent.spawn(pair.reader.recv, SIZE)
    run_loop()
    pair.reader.close()
    reading.join()
    assert isinstance(reading.exception, OSError)
