"""The operator's page at `/` of the operator's port: files that need no token. All that they show comes from the HTTP
interface, with the token that the operator types.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from peatio_ws.console import static_files
from peatio_ws.console.static_files import StaticFile
from peatio_ws.server.operator_port.response import Response, error

FOLDER: Final = Path(__file__).with_name("static")
SHARED: Final = ("base.css", "icon.svg")
"""The files that the page has in common with the console."""
_HEADERS: Final = (static_files.policy(no_html=True), *static_files.HEADERS)


def _read() -> dict[str, StaticFile]:
    files = {f"/page/{path.name}": static_files.read(path) for path in FOLDER.iterdir()}
    files |= {f"/page/{name}": static_files.read(static_files.SHARED / name) for name in SHARED}
    files["/"] = files.pop("/page/index.html")
    return files


FILES: Final = _read()
"""The files by their paths."""


def answer(path: str, method: str) -> Response | None:
    """Return the answer to a request for a file of the page; None for another path."""
    file = FILES.get(path)
    if file is None:
        return None
    if method not in ("GET", "HEAD"):
        return error("405 Method Not Allowed", "use GET or HEAD", ("Allow", "GET, HEAD"))
    return Response("200 OK", file.body, file.kind, _HEADERS)
