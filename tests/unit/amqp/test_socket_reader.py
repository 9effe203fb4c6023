"""How the broker's socket is waited for: by real sockets and a real event loop; no assertion counts seconds."""

from __future__ import annotations

from collections.abc import Iterator

import gevent
import gevent.socket
import pytest

from peatio_ws.amqp.socket_reader import SocketReader

LIMIT = 30.0
SIZE = 1000


class Pair:
    """A socket that is read, and its other end."""

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


def turn() -> int:
    """How often the loop has gone round."""
    return int(gevent.get_hub().loop.iteration)


def go_round(times: int = 5) -> None:
    """Let the loop go round, with a look at all sockets."""
    for _ in range(times):
        gevent.sleep(1e-6)


def test_what_is_there_is_read_at_once(pair: Pair) -> None:
    pair.far.sendall(b"one")
    before = turn()
    assert pair.reader.recv(SIZE) == b"one"
    assert turn() == before


def test_a_read_waits_until_something_comes(pair: Pair) -> None:
    reading = gevent.spawn(pair.reader.recv, SIZE)
    go_round()
    assert not reading.ready()
    pair.far.sendall(b"one")
    assert reading.get() == b"one"


def test_the_end_of_the_connection_is_read_as_nothing(pair: Pair) -> None:
    reading = gevent.spawn(pair.reader.recv, SIZE)
    go_round()
    pair.far.close()
    assert reading.get() == b""


def test_others_run_between_two_reads_under_a_steady_stream(pair: Pair) -> None:
    """There is always something to read, and yet all the other sockets are looked at before the next read."""
    turns = list[int]()

    def read() -> None:
        for _ in range(100):
            pair.reader.recv(SIZE)
            turns.append(turn())
            pair.far.sendall(b"more")

    pair.far.sendall(b"more")
    gevent.spawn(read).join()
    assert len(set(turns)) == 100, "one read in a turn of the loop"


def test_read_that_left_something_is_followed_by_one_without_a_wait(pair: Pair) -> None:
    pair.far.sendall(b"x" * (SIZE + 1))
    before = turn()
    assert len(pair.reader.recv(SIZE)) == SIZE
    assert len(pair.reader.recv(SIZE)) == 1
    assert turn() == before


def test_the_loop_is_not_kept_busy_while_nobody_reads(pair: Pair) -> None:
    pair.far.sendall(b"one")
    pair.reader.recv(SIZE)
    reading = gevent.spawn(pair.reader.recv, SIZE)
    pair.far.sendall(b"two")
    assert reading.get() == b"two"
    pair.far.sendall(b"three")
    go_round()
    assert not pair.reader._watcher.active
    assert pair.reader.recv(SIZE) == b"three"


def test_error_thrown_at_a_waiting_reader_reaches_it(pair: Pair) -> None:
    reading = gevent.spawn(pair.reader.recv, SIZE)
    go_round()
    gevent.kill(reading, ConnectionError("no heartbeat"))
    reading.join()
    assert isinstance(reading.exception, ConnectionError)
    pair.far.sendall(b"one")
    assert pair.reader.recv(SIZE) == b"one"


def test_the_timeout_of_the_socket_counts(pair: Pair) -> None:
    pair.near.settimeout(0.001)
    with pytest.raises(TimeoutError):
        pair.reader.recv(SIZE)
    pair.far.sendall(b"one")
    pair.near.settimeout(LIMIT)
    assert pair.reader.recv(SIZE) == b"one"


def test_a_reader_whose_connection_is_closed_does_not_wait_for_ever(pair: Pair) -> None:
    reading = gevent.spawn(pair.reader.recv, SIZE)
    go_round()
    pair.reader.close()
    reading.join()
    assert isinstance(reading.exception, OSError)
