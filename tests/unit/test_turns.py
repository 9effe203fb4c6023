"""Sharing the interpreter with a thread that computes."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import gevent.socket
import pytest

from peatio_ws.frames import text_frame
from peatio_ws.outbox import Outbox, flush_all
from peatio_ws.turns import TURN_SECONDS, Turns, turns


@pytest.fixture
def pair() -> Iterator[tuple[gevent.socket.socket, socket.socket]]:
    mine, other = gevent.socket.socketpair()
    yield mine, other
    mine.close()
    other.close()


def test_turns_are_short_as_long_as_anybody_computes() -> None:
    usual, mine = sys.getswitchinterval(), Turns()
    assert mine.send is None
    with mine:
        with mine:
            assert sys.getswitchinterval() == pytest.approx(TURN_SECONDS)
        assert sys.getswitchinterval() == pytest.approx(TURN_SECONDS)
        assert mine.send is not None
    assert sys.getswitchinterval() == usual
    assert mine.send is None


def test_what_is_written_meanwhile_is_written_as_ever(pair: tuple[gevent.socket.socket, socket.socket]) -> None:
    mine, other = pair
    outbox = Outbox(mine, 2**20, 10)
    with turns:
        outbox.put(text_frame(b"a"))
        flush_all([outbox])
        assert other.recv(100) == text_frame(b"a")
        large = text_frame(b"x" * 2**19)
        outbox.put(large)
        flush_all([outbox])
        assert 0 < outbox.sent < len(large)
        assert outbox.size == len(large) + len(text_frame(b"a")) - outbox.sent, "the rest waits for its writer"
    taken = b""
    with gevent.Timeout(10):
        while len(taken) < len(large):
            taken += other.recv(2**16)
    assert taken == large


def test_a_client_that_has_gone_is_found_out(pair: tuple[gevent.socket.socket, socket.socket]) -> None:
    mine, other = pair
    outbox = Outbox(mine, 2**20, 10)
    other.close()
    with turns:
        outbox.put(text_frame(b"a"))
        flush_all([outbox])
    assert outbox.closing == 1006


def test_errors_are_the_systems_own() -> None:
    with turns:
        assert turns.send is not None
        with pytest.raises(OSError, match="Bad file descriptor"):
            turns.send(-1, b"x")
