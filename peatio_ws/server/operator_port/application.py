"""The WSGI application of the operator's port: chooses what answers a request."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from peatio_ws.server.operator_port import health, page
from peatio_ws.server.operator_port.response import error

if TYPE_CHECKING:
    from peatio_ws.server.operator_port.api import Api


class OperatorApplication:
    """Answers scrapers, load balancers, operators and their programs.

    Attributes:
        api: the HTTP interface; None where it is off.
    """

    def __init__(self) -> None:
        self.api: Api | None = None

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """WSGI (PEP 3333)."""
        path, method = environ.get("PATH_INFO", ""), environ["REQUEST_METHOD"]
        if self.api is not None and path.startswith("/api/"):
            found = self.api.answer(environ)
        elif self.api is not None and (answer := page.answer(path, method)) is not None:
            found = answer
        else:
            found = health.answer(path) or error("404 Not Found", "there are /metrics, /healthz and /readyz")
        if found.parts is not None:
            start_response(found.status, [("Content-Type", found.kind), *found.headers])
            return found.parts
        length = ("Content-Length", str(len(found.body)))
        start_response(found.status, [("Content-Type", found.kind), length, *found.headers])
        return [found.body] if method != "HEAD" else []
