"""A thread with a gevent loop: results, exceptions, and a loop that is blocked."""

from __future__ import annotations

import threading

import gevent
import pytest

from peatio_ws.concurrency.loop_thread import LoopThread

WAIT = 60.0


@pytest.fixture(scope="module")
def thread() -> LoopThread:
    return LoopThread("loop of the test")


def test_jobs_run_in_the_thread_and_return_their_result(thread: LoopThread) -> None:
    assert thread.run(lambda: (gevent.sleep(0), threading.current_thread().name)[1], WAIT) == "loop of the test"


def test_exception_of_a_job_is_raised(thread: LoopThread) -> None:
    with pytest.raises(ZeroDivisionError):
        thread.run(lambda: 1 / 0, WAIT)


def test_code_that_blocks_the_thread_is_named_in_the_error(thread: LoopThread) -> None:
    began, released = threading.Event(), threading.Event()

    def wait_for_the_test() -> None:
        began.set()
        released.wait(WAIT)

    thread.run(lambda: gevent.spawn(wait_for_the_test), WAIT)
    assert began.wait(WAIT)
    try:
        with pytest.raises(TimeoutError, match=r"(?s)^the thread loop of the test .*patch_all.*in wait_for_the_test\n"):
            thread.run(lambda: None, 0.01)
    finally:
        released.set()
    assert thread.run(lambda: "continues", WAIT) == "continues"
