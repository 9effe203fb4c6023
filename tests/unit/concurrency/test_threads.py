"""Work in a native thread: only the calling greenlet waits for it."""

from __future__ import annotations

import contextvars
import sys
import time

import gevent
import pytest

from peatio_ws.concurrency.threads import TURN_SECONDS, in_thread


def test_work_in_a_thread_delays_no_client() -> None:
    usual, ticks = sys.getswitchinterval(), 0

    def busy() -> float:
        """Block this thread until the loop has run a few times, however long that takes."""
        until = time.monotonic() + 60
        while ticks < 5:
            assert time.monotonic() < until, "the loop was blocked"
        return sys.getswitchinterval()

    work = [gevent.spawn(in_thread, busy) for _ in range(2)]
    while not all(one.ready() for one in work):
        gevent.sleep(0.01)
        ticks += 1
    assert [one.value for one in work] == [pytest.approx(TURN_SECONDS)] * 2
    assert sys.getswitchinterval() == usual


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), KeyboardInterrupt()])
def test_error_in_a_thread_is_raised_in_the_caller_and_not_logged(
    error: BaseException, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        in_thread(fail)
    assert raised.value is error
    assert capfd.readouterr().err == ""


def test_work_in_a_thread_sees_the_callers_context_variables() -> None:
    variable = contextvars.ContextVar("variable", default="none")
    variable.set("the caller's")
    assert in_thread(variable.get) == "the caller's"
    in_thread(variable.set, "the thread's")
    assert variable.get() == "the caller's"
