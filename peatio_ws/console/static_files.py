"""The files of a page, and the headers that keep a browser from loading anything else. Knows no request."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
SHARED: Final = Path(__file__).with_name("static")
"""The folder with the files that other pages use, too: `base.css` and `icon.svg`."""
HEADERS: Final = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'{sockets}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_NO_HTML: Final = "; require-trusted-types-for 'script'; trusted-types 'none'"


class StaticFile(NamedTuple):
    """A file.

    Attributes:
        kind: its media type.
    """

    kind: str
    body: bytes


def read(path: Path) -> StaticFile:
    """Read a file. Raises KeyError for one of another kind than those of `TYPES`."""
    return StaticFile(TYPES[path.suffix], path.read_bytes())


def policy(sockets: str = "", no_html: bool = False) -> tuple[str, str]:
    """Return the header with the Content-Security-Policy: a page loads only files of its own host.

    Args:
        sockets: addresses of WebSockets that the page may also connect to, each with a blank before it.
        no_html: whether scripts of the page may not make HTML from a text at all (Trusted Types).
    """
    return "Content-Security-Policy", _POLICY.format(sockets=sockets) + (_NO_HTML if no_html else "")
