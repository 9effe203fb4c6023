"""A thread with a gevent loop, for a process that gevent has not patched."""

from __future__ import annotations

import concurrent.futures
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import gevent
import gevent.event

ADVICE: Final = (
    "Without gevent's patches, code that waits for a socket, a lock or time blocks it: replace what the application "
    "connects to, or begin conftest.py with `from gevent import monkey; monkey.patch_all()`"
)
BEGIN_SECONDS: Final = 30.0
MOST_FRAMES: Final = 15


class LoopThread:
    """A thread with a gevent loop that lives as long as the process.

    Args:
        name: of the thread, for errors and debuggers.
    """

    def __init__(self, name: str) -> None:
        self._jobs: deque[Callable[[], None]] = deque()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run_loop, name=name, daemon=True)
        self._thread.start()
        self._started.wait(BEGIN_SECONDS)

    def run(self, job: Callable[[], Any], timeout: float) -> Any:
        """Run a function in this thread, in its own greenlet, and return its result.

        Args:
            timeout: in seconds.

        Raises:
            BaseException: any exception of the function.
            TimeoutError: the function has not returned in time; contains what the thread does instead.
        """
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def do() -> None:
            try:
                future.set_result(job())
            except BaseException as error:
                future.set_exception(error)

        self._jobs.append(do)
        self._wake.send()
        if not concurrent.futures.wait([future], timeout).done:
            frame = sys._current_frames().get(self._thread.ident or 0)
            stack = "".join(traceback.format_stack(frame)[-MOST_FRAMES:])
            raise TimeoutError(f"the thread {self._thread.name} does not continue. {ADVICE}. It is here:\n{stack}")
        return future.result()

    def _run_loop(self) -> None:
        self._wake = gevent.get_hub().loop.async_()
        self._wake.start(self._run_jobs)
        self._started.set()
        gevent.event.Event().wait()

    def _run_jobs(self) -> None:
        while self._jobs:
            gevent.spawn(self._jobs.popleft())
