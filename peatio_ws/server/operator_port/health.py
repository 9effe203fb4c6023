"""What the operator's port tells without a token: `/metrics`, `/healthz`, `/readyz`.

The worker that accepts a request reports its own health. A worker whose event loop is stuck accepts none.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, Final

import gevent
from gevent.event import AsyncResult
from gevent.lock import Semaphore

from peatio_ws.monitoring import metrics
from peatio_ws.server.gateway import Gateway
from peatio_ws.server.operator_port.response import Response, json_response

STUCK_SECONDS: Final = 5.0
"""A worker is reported if its event loop has not turned for this time. It should once a second."""
REST: Final = 2.0
"""A worker pauses between two scrapes for this many times the duration of the first one. Clients that come meanwhile
share the next one."""

faults: list[str] = []
"""Why this worker cannot start."""
addresses: list[str] = []
"""Where this worker accepts clients: `host:port`, or the path of a Unix socket."""


class Scrapes:
    """Scrapes of many clients: one at a time, with pauses. Clients that ask before a scrape begins share it.

    Args:
        render: returns the metrics, which takes time.
    """

    def __init__(self, render: Callable[[], bytes]) -> None:
        self._render, self._one = render, Semaphore()
        self._next: AsyncResult[bytes] | None = None
        self._rested = 0.0  # monotonic time

    def text(self) -> bytes:
        """Return what `render` returns, or raise what it raises. It starts after this call."""
        if self._next is None:
            self._next = AsyncResult()
            gevent.spawn(self._run, self._next)
        text: bytes = self._next.get()
        return text

    def _run(self, shared: AsyncResult[bytes]) -> None:
        with self._one:
            gevent.sleep(max(0.0, self._rested - time.monotonic()))
            self._next, began = None, time.monotonic()
            try:
                shared.set(self._render())
            except BaseException as error:
                shared.set_exception(error)
            now = time.monotonic()
            self._rested = now + REST * (now - began)


_scrapes: Final = Scrapes(metrics.text)


def answer(path: str) -> Response | None:
    """Return the answer to a scraper, a load balancer or a person; None for another path."""
    if path == "/metrics":
        try:
            return Response("200 OK", _scrapes.text(), "text/plain; version=0.0.4; charset=utf-8")
        except TimeoutError as error:
            return json_response("503 Service Unavailable", {"error": str(error)})
    if path == "/healthz":
        # Problems of other workers are gunicorn's to solve, and no reason to end this worker, too.
        return json_response("200 OK", {"ok": True, "problems": _stuck(), "addresses": addresses})
    if path == "/readyz":
        problems = faults + [problem for gateway in Gateway.instances() for problem in gateway.problems()]
        status = "503 Service Unavailable" if problems else "200 OK"
        return json_response(status, {"ready": not problems, "problems": problems})
    return None


def address(name: Any) -> str:
    """Return the name of a listening socket as text, for `addresses`."""
    if not isinstance(name, tuple):
        return os.fsdecode(name)
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _stuck() -> list[str]:
    """Return a line for each worker whose event loop is stuck."""
    ages = {pid: time.time() - at for pid, at in metrics.turned_at().items()}
    return [
        f"worker {pid} does not turn, for {age:.0f} s now; gunicorn ends it after its timeout"
        for pid, age in sorted(ages.items())
        if age > STUCK_SECONDS
    ]
