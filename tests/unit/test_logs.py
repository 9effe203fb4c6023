"""The access log's lines, before they are rendered."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from peatio_ws import logs


def line(**atoms: str) -> dict[str, Any]:
    """A request as gunicorn tells of it."""
    known = defaultdict(str, {"s": "404", "L": "0.001", "B": "0", **atoms})
    return dict(logs._request(None, "info", {"logger": "gunicorn.access", "positional_args": known}))


def test_a_client_cannot_speak_to_the_terminal_of_who_reads_the_log() -> None:
    told = line(U="/\x1b]0;mine\x07", a="\x1b[2J", m="GET\x9b", h="\x1b")
    for name in ("path", "user_agent", "method", "address"):
        assert told[name].isprintable()
    assert told["path"] == r"'/\x1b]0;mine\x07'"


def test_what_is_printable_is_told_as_it_is() -> None:
    told = line(U="/ranger/public", a="Mozilla/5.0 (X11)", m="GET", h="10.0.0.1")
    assert (told["path"], told["user_agent"], told["method"], told["address"]) == (
        "/ranger/public",
        "Mozilla/5.0 (X11)",
        "GET",
        "10.0.0.1",
    )
