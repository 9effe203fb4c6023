"""Malformed requests of h11's and llhttp's own tests: each is answered once, with the right status, and nothing after
it is read as a request.

The inputs are facts; the words here are our own. Where the two differ, the stricter one applies.
"""

from __future__ import annotations

import contextlib
import io
import socket
from collections.abc import Iterator

import pytest

from peatio_ws import testing
from peatio_ws.transport.http.headers import Headers, check_request_line

SMUGGLED = b"GET /healthcheck HTTP/1.1\r\nHost: smuggled\r\n\r\n"
"""Sent after each request. Its answer would be 200, which must not arrive."""


def with_fields(*fields: bytes, line: bytes = b"POST / HTTP/1.1") -> bytes:
    return b"\r\n".join([line, b"Host: a", *fields, b"", b""])


LINES = {
    "another protocol": b"GET /music ICE/1.0\r\n",
    "nearly HTTP": b"GET /music IHTTP/1.0\r\n",
    "RTSP": b"PUT /music RTSP/1.0\r\n",
    "HTTP/5.6": b"GET / HTTP/5.6\r\n",
    "HTTP/1.1 with more digits": b"GET / HTTP/1.11\r\n",
    "HTTP/01.1": b"GET / HTTP/01.1\r\n",
    "lower case": b"GET / http/1.1\r\n",
    "no version, as HTTP/0.9": b"GET /\r\n",
    "no target": b"GET HTTP/1.1\r\n",
    "a space in the target": b"GET /foo bar/ HTTP/1.1\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\n",
    "a space before the method": b" GET / HTTP/1.1\r\n",
    "a tab": b"GET\t/ HTTP/1.1\r\n",
    "a vertical tab": b"GET\x0b/ HTTP/1.1\r\n",
    "a no-break space": b"GET\xa0/ HTTP/1.1\r\n",
    "a space behind the version": b"GET / HTTP/1.1 \r\n",
    "words behind the version": b"HEAD /foo HTTP/1.1 xxxxxx\r\n",
    "no CR": b"POST / HTTP/1.1\n",
    "CR within it": b"GET /\rHTTP/1.1\r\n",
    "NUL in the target": b"HEAD /\x00 HTTP/1.1\r\n",
    "DEL in the target": b"HEAD /\x7f HTTP/1.1\r\n",
    "a byte over 127 in the target": b"HEAD /\xee HTTP/1.1\r\n",
    "UTF-8 in the target": "GET /δ¶/δt/pope?q=1#narf HTTP/1.1\r\n".encode(),
    "a method that is no token": b"G@T / HTTP/1.1\r\n",
    "nothing": b"\r\n",
}
CHUNKED = b"Transfer-Encoding: chunked"
FIELDS = {
    "a space before the colon": with_fields(b"Foo : bar"),
    "a tab before the colon": with_fields(b"Foo\t: bar"),
    "a space before the name": with_fields(b" Foo: bar"),
    "a space in the name": with_fields(b"Foo bar: baz"),
    "a folded first line": b"GET / HTTP/1.1\r\n  folded: line\r\n\r\n",
    "a folded value": with_fields(b"Foo: multi-line", b" header"),
    "a length in a folded line": with_fields(b"Foo: bar", b" Content-Length: 38"),
    "a folded name": with_fields(b"name", b" : value"),
    "a folded coding": with_fields(CHUNKED, b"  abc"),
    "no name": with_fields(b": bar"),
    "no colon": with_fields(b"Foo"),
    "@ in the name": with_fields(b"Fo@: Failure"),
    "NUL in the name": with_fields(b"Foo\x00bar: baz"),
    "a control character in the name": with_fields(b"Foo\x01test: bar"),
    "a byte over 127 in the name": with_fields(b"Foo\xffbar: baz"),
    "NUL in the value": with_fields(b"Foo: bar\x00baz"),
    "a control character in the value": with_fields(b"Cookie: a=kUd\x01UpAt"),
    "DEL in the value": with_fields(b"Foo: bar\x7f"),
    "CR in the value": with_fields(b"Foo: 1\rBar: 2"),
    "CR for a value": with_fields(b"x:\r" + CHUNKED),
    "CR in the name": with_fields(b"Content\rLength: 003"),
    "CR and more behind a name": with_fields(b"Connection\r\x1b\x35\xd5eep-Alive"),
    "CR and more for the last line": with_fields(b"Connection: close", b"\rZGET /evil: HTTP/1.1"),
    "LF for the end of a line": with_fields(b"x:x\n" + CHUNKED),
    "LF for a value": with_fields(b"x:\n" + CHUNKED),
    "LF before a length": with_fields(b"Dummy: x\nContent-Length: 23"),
    "LF for the last line": b"GET / HTTP/1.1\r\nHost: a\r\n\n",
    "LF only": b"GET / HTTP/1.1\nHost: a\n\n",
    "a length with a space": with_fields(b"Content-Length: 4 2"),
    "two lengths in a line": with_fields(b"Content-Length: 42, 42"),
    "an empty length": with_fields(b"Content-Length:"),
    "a length that is a word": with_fields(b"Content-Length: asdf"),
    "a length with a letter": with_fields(b"Content-Length: 1x"),
    "a length with a sign": with_fields(b"Content-Length: +1"),
    "a length below nothing": with_fields(b"Content-Length: -1"),
    "a length in hexadecimal": with_fields(b"Content-Length: 0x10"),
    "a length with an underscore": with_fields(b"Content-Length: 1_0"),
    "a length without end": with_fields(b"Content-Length: 1000000000000000000000"),
    "a length of other digits": with_fields("Content-Length: ٣".encode()),
    "two lengths": with_fields(b"Content-Length: 1", b"Content-Length: 2"),
    "three lengths": with_fields(b"Content-Length: 1", b"Content-Length: 1", b"Content-Length: 2"),
    "a length and chunks": with_fields(b"Content-Length: 1", CHUNKED),
    "chunks and a length": with_fields(CHUNKED, b"content-length: 5"),
    "a length and a coding": with_fields(b"Content-Length: 1", b"Transfer-Encoding: identity"),
    "an empty coding and a length": with_fields(b"Transfer-Encoding:", b"Content-Length: 5"),
    "an empty coding": with_fields(b"Transfer-Encoding:"),
    "an unknown coding": with_fields(b"Transfer-Encoding: pigeons"),
    "another coding": with_fields(b"Transfer-Encoding: gzip"),
    "chunks, then another": with_fields(b"Transfer-Encoding: chunked, deflate"),
    "another, then chunks": with_fields(b"Transfer-Encoding: deflate, chunked"),
    "chunks twice in a word": with_fields(b"Transfer-Encoding: chunkedchunked"),
    "chunks and another in two lines": with_fields(CHUNKED, b"Transfer-Encoding: deflate"),
    "another and chunks in two lines": with_fields(b"Transfer-Encoding: deflate", CHUNKED),
    "a vertical tab around chunks": with_fields(b"Transfer-Encoding: \x0bchunked"),
    "two hosts": with_fields(b"Host: b"),
}
TOO_LARGE = {
    "a field behind 100": with_fields(*[b"A: b"] * 100),
    "a line of 9,000 bytes": with_fields(b"A: " + b"b" * 9000),
    "40,000 bytes": with_fields(*[b"A: " + b"b" * 8000] * 5),
}
CHUNKS = {
    "words behind a size": b"2 erfrferferf\r\naa\r\n0 rrrr\r\n\r\n",
    "a space behind a size": b"a \r\n0123456789\r\n0\r\n\r\n",
    "a size with LF": b"3 \n  \r\nfoo\r\n",
    "a size with NUL": b"10\x00\r\nxxx",
    "a size without end": b"9" * 100 + b"\r\nxxx",
    "a size with a sign": b"+3\r\nxxx\r\n0\r\n\r\n",
    "a size with an underscore": b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n",
    "no size": b"\r\nxxx\r\n0\r\n\r\n",
    "no last chunk": b"3\r\nfoo\r\n\r\n",
    "more than a chunk has": b"3\r\nxxx__1a\r\n",
    "CR and more behind a chunk": b"3\r\nxxx\r_1a\r\n",
    "LF and more behind a chunk": b"3\r\nxxx_\n1a\r\n",
    "nothing behind a chunk": b"5\r\nABCDE0\r\n\r\n",
    "CR twice": b"5\r\r;ABCD\r\n34\r\nE\r\n0\r\n\r\n",
    "LF in an extension": b"2;\nxx\r\naa\r\n0\r\n\r\n",
    "an open quote": b'5;a="abc";b="def; ghi\r\nhello\r\n0\r\n\r\n',
    "a trailer that is none": b"3\r\nfoo\r\n0\r\nno field\r\n\r\n",
    "good ones": b"a\r\n0123456789\r\n0\r\nVary: *\r\n\r\n",
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_malformed_line_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError) as refused:
        check_request_line(line.decode("latin-1"))
    assert str(refused.value) == "invalid request line"


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1\r\n",
        b"HEAD /foo HTTP/1.0\r\n",
        b"M-SEARCH * HTTP/1.1\r\n",
        b"REPORT /test HTTP/1.1\r\n",
        b'GET /with_"lovely"_quotes?foo="bar" HTTP/1.1\r\n',
        b"GET /test.cgi?foo=bar?baz=| HTTP/1.1\r\n",
        b"GET /forums/1?page=1#posts-17408 HTTP/1.1\r\n",
        b"GET http://hypnotoad.org:1234?hail=all HTTP/1.1\r\n",
    ],
)
def test_unusual_line_is_accepted(line: bytes) -> None:
    check_request_line(line.decode("latin-1"))


@pytest.mark.parametrize("request_", FIELDS.values(), ids=FIELDS)
def test_malformed_fields_are_refused(request_: bytes) -> None:
    with pytest.raises(ValueError):
        read(request_)


def read(request_: bytes) -> None:
    rfile = io.BytesIO(request_)
    check_request_line(rfile.readline().decode("latin-1"))
    Headers(rfile)


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 003\r\nOhai: world\r\n\r\n",
        b"conTENT-Length:  42 \r\n\r\n",
        b"Transfer-Encoding: cHuNkEd \r\n\r\n",
        b"Foo:\r\nBar: \t \t \r\nBaz: a a a a a \r\n\r\n",
        b'HOST: 239.255.255.250:1900\r\nST: "ssdp:all"\r\n\r\n',
        b"A: \xc3\xa9\r\n\r\n",
    ],
)
def test_unusual_fields_are_accepted(fields: bytes) -> None:
    Headers(io.BytesIO(fields))


@pytest.fixture(scope="module")
def server() -> Iterator[testing.Server]:
    with testing.serve(testing.gateway(WEBSOCKET_HANDSHAKE_TIMEOUT="20")) as server:
        yield server


def answers(server: testing.Server, data: bytes) -> list[bytes]:
    """Return the status lines of all answers to this, until the gateway closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), 30) as client:
        with contextlib.suppress(OSError):  # it may close the connection before it has received everything
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        came = b""
        while True:
            try:
                more = client.recv(65_536)
            except ConnectionResetError:  # because of unread data
                more = b""
            if not more:
                return [line for line in came.split(b"\r\n") if line.startswith(b"HTTP/")]
            came += more


BAD_REQUEST = [b"HTTP/1.1 400 Bad Request"]


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_malformed_request_line_is_answered_with_400(server: testing.Server, line: bytes) -> None:
    assert answers(server, line + b"Host: a\r\n\r\n" + SMUGGLED) == BAD_REQUEST


@pytest.mark.parametrize("request_", FIELDS.values(), ids=FIELDS)
def test_malformed_fields_are_answered_with_400(server: testing.Server, request_: bytes) -> None:
    assert answers(server, request_ + SMUGGLED) == BAD_REQUEST


@pytest.mark.parametrize("request_", TOO_LARGE.values(), ids=TOO_LARGE)
def test_too_large_fields_are_answered_with_431_and_end(server: testing.Server, request_: bytes) -> None:
    assert answers(server, request_ + SMUGGLED) == [b"HTTP/1.1 431 Request Header Fields Too Large"]


@pytest.mark.parametrize("body", CHUNKS.values(), ids=CHUNKS)
def test_nothing_after_chunks_is_a_request(server: testing.Server, body: bytes) -> None:
    request = with_fields(CHUNKED) + body
    assert answers(server, request + SMUGGLED) == [b"HTTP/1.1 426 Upgrade Required"]


HANDSHAKE = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


def handshake(*more: str, without: str = "", line: str = "GET / HTTP/1.1") -> bytes:
    fields = [f"{name}: {value}" for name, value in HANDSHAKE.items() if name != without]
    return "\r\n".join([line, *fields, *more, "", ""]).encode()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (handshake("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400),
        (handshake("Sec-WebSocket-Version: 13"), 426),
        (handshake("Sec-WebSocket-Version: 8"), 426),
        (handshake("Sec-WebSocket-Key: AAAA", without="Sec-WebSocket-Key"), 400),
        (handshake(without="Sec-WebSocket-Key"), 400),
        (handshake(without="Sec-WebSocket-Version"), 426),
        (handshake(without="Connection"), 400),
        (handshake(without="Host"), 400),
        (handshake(without="Upgrade"), 426),
        (handshake("Upgrade: WebSocket/13", without="Upgrade"), 426),
        (handshake("Connection: keep-alive, close", without="Connection"), 400),
        (handshake(line="POST / HTTP/1.1"), 405),
        (handshake(line="PUT / HTTP/1.1"), 405),
        (handshake(line="GET / HTTP/1.0"), 426),
        (handshake("Authorization: Bearer a", "Authorization: Bearer b"), 401),
        # Another name, which some servers would treat as the same.
        (handshake("Sec_WebSocket_Key: dGhlIHNhbXBsZSBub25jZQ==", without="Sec-WebSocket-Key"), 400),
    ],
)
def test_a_malformed_handshake_is_answered_and_ends(server: testing.Server, request_: bytes, status: int) -> None:
    (line,) = answers(server, request_ + (SMUGGLED if b"Upgrade: websocket" in request_ else b""))
    assert line.startswith(b"HTTP/1.1 %d " % status)


def test_bytes_after_a_handshake_are_frames_despite_content_length(server: testing.Server) -> None:
    assert answers(server, handshake("Content-Length: 4") + SMUGGLED) == [b"HTTP/1.1 101 Switching Protocols"]


def test_answer_announces_close_after_chunks(server: testing.Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 30) as client:
        client.sendall(with_fields(CHUNKED, line=b"GET /healthcheck HTTP/1.1") + b"0\r\n\r\n")
        came = b""
        while more := client.recv(65_536):
            came += more
    assert came.startswith(b"HTTP/1.1 200 ")
    assert came.count(b"Connection: close\r\n") == 1
