"""A visitor of the example applications: a browser without JavaScript. Knows their pages; knows no gateway process."""

from __future__ import annotations

import contextlib
import re
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.cookiejar import CookieJar
from typing import Any
from urllib.parse import urlencode

from websockets.sync.client import ClientConnection, connect

from tests.support.gateway import WAIT, receive


class Visitor:
    """A browser that keeps cookies, follows redirects and sends the hidden fields of a page's form.

    Args:
        port: of the application, on this machine.
    """

    def __init__(self, port: int) -> None:
        self._jar, self._token = CookieJar(), ""
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self._jar))
        self.origin = f"http://127.0.0.1:{port}"

    def ask(self, path: str, body: bytes | None = None, method: str | None = None, **headers: str) -> tuple[Any, bytes]:
        """Return status and body of the answer."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.origin + path, body, named, method=method)
        try:
            with self._opener.open(request, timeout=WAIT) as answer:
                found, page = answer, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                found, page = error, error.read()
        hidden = re.search(rb'name="csrfmiddlewaretoken" value="(\w+)"', page)
        self._token = hidden[1].decode() if hidden else self._token
        return found, page

    def post(self, path: str, **fields: str) -> tuple[Any, bytes]:
        body = urlencode({**fields, "csrfmiddlewaretoken": self._token}).encode()
        return self.ask(path, body, Content_Type="application/x-www-form-urlencoded")

    def upload(self, path: str, name: str, content: bytes) -> tuple[Any, bytes]:
        between = secrets.token_hex(16)  # cannot occur in the content
        head = f'--{between}\r\nContent-Disposition: form-data; name="{name}"; filename="a.bin"\r\n\r\n'
        body = head.encode() + content + f"\r\n--{between}--\r\n".encode()
        return self.ask(path, body, Content_Type=f"multipart/form-data; boundary={between}", X_CSRFToken=self._token)

    def log_in(self, name: str) -> Visitor:
        self.ask("/login")
        answer, page = self.post("/login", name=name, username=name, password=f"{name}'s password")
        assert answer.url == f"{self.origin}/"
        assert f"<h1>{name}</h1>".encode() in page
        return self

    @contextlib.contextmanager
    def websocket(self, path: str, origin: str = "", cookie: str = "") -> Iterator[ClientConnection]:
        """Open a WebSocket as a page's script does. `origin` is another site's, `cookie` the whole Cookie header."""
        cookies = "; ".join(f"{one.name}={cookie or one.value}" for one in self._jar)
        url = f"{self.origin.replace('http', 'ws')}/{path}"
        headers = {"Cookie": cookies}
        options: dict[str, Any] = {"origin": origin or self.origin, "additional_headers": headers}
        with connect(url, open_timeout=WAIT, close_timeout=WAIT, **options) as client:
            yield client

    @contextlib.contextmanager
    def messages(self) -> Iterator[ClientConnection]:
        """Open a page's WebSocket, which receives what the application pushes."""
        with self.websocket("messages") as client:
            assert receive(client) == {"ready": True}
            yield client
