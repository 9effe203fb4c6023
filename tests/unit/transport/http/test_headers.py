"""Header fields: valid ones are read as pywsgi reads them, and invalid ones are refused."""

from __future__ import annotations

import io

import pytest
from gevent.pywsgi import headers_factory
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.transport.http.headers import LINE_BYTES, MOST_FIELDS, Headers

NAMES = st.text("abcXYZ019-_!#$%&'*+.^`|~", min_size=1, max_size=12) | st.sampled_from(["Host", "Upgrade", "cookie"])
VALUES = st.text(st.characters(max_codepoint=255, blacklist_categories=["Cc"]), max_size=40)
SPACES = st.text(" \t", max_size=3)
LINES = st.lists(st.tuples(NAMES, SPACES, VALUES, SPACES), max_size=20)


def read(text: bytes) -> Headers:
    return Headers(io.BytesIO(text))


@given(LINES)
def test_fields_are_read_as_by_pywsgi(lines: list[tuple[str, str, str, str]]) -> None:
    lines = [line for line in lines if line[0].lower() not in ("content-length", "transfer-encoding", "host")]
    text = "".join(f"{name}:{before}{value}{after}\r\n" for name, before, value, after in lines)
    raw = text.encode("latin-1") + b"\r\nthe body"
    fields, theirs = read(raw), headers_factory(io.BytesIO(raw))
    assert [line.split(":", 1)[0] for line in fields.headers] == [name.lower() for name, *_ in lines]
    assert [line.split(":", 1)[1].strip() for line in fields.headers] == [value.strip() for _, _, value, *_ in lines]
    for name, *_ in lines:
        mine, other = fields.get(name.title()), theirs.get(name)
        assert mine is not None
        assert mine.strip() == str(other).strip()


def test_bytes_after_the_fields_are_not_read() -> None:
    rfile = io.BytesIO(b"Host: a\r\n\r\nthe body")
    Headers(rfile)
    assert rfile.read() == b"the body"


def test_pywsgi_can_look_up_fields() -> None:
    fields = read(b"Content-Type: text/plain\r\nContent-Length: 3\r\n\r\n")
    assert (fields.status, fields.typeheader, fields.getheader("content-length")) == ("", "text/plain", "3")
    del fields["content-length"]
    assert fields.get("Content-Length", "none") == "none"
    with pytest.raises(KeyError):
        del fields["content-length"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"no colon\r\n", "invalid header line"),
        (b"Space before : colon\r\n", "invalid header line"),
        (b": no name\r\n", "invalid header line"),
        (b" folded: as in e-mail\r\n", "invalid header line"),
        (b"Null: \x00\r\n", "invalid header line"),
        (b"Blank: " + b" " * 8000 + b"\x00\r\n", "invalid header line"),  # is refused at once, too
        (b"Bare: line feed\n", "invalid header line"),
        (b"Bare: carriage\rreturn\r\n", "invalid header line"),
        (b"\xc3\xa4: no token\r\n", "invalid header line"),
        (b"Long: " + b"x" * LINE_BYTES + b"\r\n", "header field longer than 8190 bytes"),
        (b"A: b\r\n" * MOST_FIELDS, "more than 100 header fields"),
        (b"Content-Length: 1\r\nContent-Length: 1\r\n", "duplicate field"),
        (b"Transfer-Encoding: chunked\r\ntransfer-encoding: x\r\n", "duplicate field"),
        (b"host: b\r\n", "duplicate field"),
        *((b"Content-Length: " + one + b"\r\n", "length is not a number") for one in (b"+5", b"1_0", b"0x1", b"")),
        (b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", "length and transfer coding together"),
        (b"Transfer-Encoding: gzip, chunked\r\n", "transfer coding other than chunked"),
    ],
)
def test_invalid_field_is_refused_and_not_shown(line: bytes, reason: str) -> None:
    with pytest.raises(ValueError) as refused:
        read(b"Host: a\r\n" + line + b"\r\n")
    assert str(refused.value) == reason


def test_fields_up_to_the_limits_are_read() -> None:
    assert len(read(b"A: b\r\n" * MOST_FIELDS + b"\r\n").headers) == MOST_FIELDS
    assert read(b"Blank: x" + b" " * 8000 + b"y \t \r\n\r\n").get("blank") == "x" + " " * 8000 + "y"
    assert read(b"Long: " + b"x" * (LINE_BYTES - 8) + b"\r\n\r\n").get("long") == "x" * (LINE_BYTES - 8)


@pytest.mark.parametrize("text", [b"", b"Host: a\r\n", b"Host: a\r\nUpgr", b"Host: a\r\n\r"])
def test_the_end_of_the_connection_is_not_the_end_of_the_fields(text: bytes) -> None:
    with pytest.raises(ConnectionError):
        read(text)
