"""A request's first line and header fields, to the letter (RFC 9112 sections 3 and 5), as pywsgi wants to find them.

It would have Python's parser of e-mail read them, which takes nearly everything for a field, the end of a connection
for the end of the fields, and a tenth of what a connection costs (gevent 26.9.0).
"""

from __future__ import annotations

import re
from typing import Any, Final

MOST_FIELDS: Final = 100
LINE_BYTES: Final = 8190
"""Limits as gunicorn's own workers have them by default."""
HEAD_BYTES: Final = 32_768
"""All header fields of a request together: four lines of the longest, as nginx has it by default."""

# One way to match only: blanks that could be the value's or around it would be tried each way, for hours.
# A line ends with CR and LF: a proxy that took a lone LF for a part of a value would see fewer fields than this server.
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e\x80-\xff]*)\r\n").fullmatch
_END: Final = b"\r\n"
_REQUEST_LINE: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [\x21-\x7e]+ HTTP/1\.[01]\r\n").fullmatch
_ONCE: Final = ("content-length", "transfer-encoding", "host")
"""Where a proxy believed one of two, and this server the other, a client could slip a request past the proxy."""
_LENGTH: Final = re.compile("[0-9]{1,18}").fullmatch


class TooLarge(ValueError):
    """A request's header fields are more than this server reads (RFC 6585 section 5)."""


def check_request_line(line: str) -> None:
    """Check the first line of a request (RFC 9112 section 3): a method, a target and a version, with one space between
    them. pywsgi takes any white space, and HTTP/0.9 (gevent 26.9.0).

    Raises:
        ValueError: it is another one.
        ConnectionError: the client has hung up before its end.
    """
    if not line.endswith("\n"):
        raise ConnectionResetError("hung up within a request")
    if not _REQUEST_LINE(line):
        raise ValueError("a request line that is none")


class Headers:
    """Reads them up to the empty line that ends them.

    Args:
        rfile: reads the request, behind its first line.

    Attributes:
        headers: the lines, in order.
        status: empty: what cannot be read raises.

    Raises:
        TooLarge: there are too many fields, or too long ones.
        ValueError: something is no field; the text says nothing of what it was.
        ConnectionError: the client has hung up before the end.
        OSError: as the socket does.
    """

    __slots__ = ("_first", "headers")

    status = ""

    def __init__(self, rfile: Any) -> None:
        self.headers: list[str] = []
        self._first: dict[str, str] = {}
        room = HEAD_BYTES
        while (line := rfile.readline(LINE_BYTES + 1)) != _END:
            field = _FIELD(line)
            if field is None:
                raise _fault(line)
            if len(self.headers) == MOST_FIELDS:
                raise TooLarge(f"more than {MOST_FIELDS} header fields")
            room -= len(line)
            if room < 0:
                raise TooLarge(f"more than {HEAD_BYTES} bytes of header fields")
            name, value = field[1].decode().lower(), field[2].strip(b" \t").decode("latin-1")
            self.headers.append(f"{name}: {value}")
            if name not in self._first:
                self._first[name] = value
            elif name in _ONCE:
                raise ValueError("two fields of which there may be one")
        if self._first.get("transfer-encoding", "chunked").lower() != "chunked":
            raise ValueError("a transfer coding other than chunked")
        if "transfer-encoding" in self._first and "content-length" in self._first:
            raise ValueError("a length beside a transfer coding")
        if not _LENGTH(self._first.get("content-length", "0")):  # Python's int() takes more for a number
            raise ValueError("a length that is no number")

    def get(self, name: str, default: str | None = None) -> str | None:
        """The value of the first field of this name, without the white space around it."""
        return self._first.get(name.lower(), default)

    getheader = get

    @property
    def typeheader(self) -> str | None:
        """The content type."""
        return self._first.get("content-type")

    def __delitem__(self, name: str) -> None:
        del self._first[name.lower()]


def _fault(line: bytes) -> Exception:
    if not line.endswith(b"\n"):
        if len(line) > LINE_BYTES:
            return TooLarge(f"a header field longer than {LINE_BYTES} bytes")
        return ConnectionResetError("hung up within a request")
    return ValueError("a header line that is no field")
