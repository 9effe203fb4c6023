"""An HTTP server that plays Barong for Envoy: it knows sessions and API keys, and answers with tokens.

As Barong does at `/api/v2/auth/…`: 200 with `Authorization` for a valid session or API key, else 401 with a JSON error.
Paths that its rules pass need neither. A session belongs to one User-Agent, and a nonce is used once. It also serves
the page of `login_proxy.py`, and `/login` starts a session. Knows no expectations.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from tests.support.login_proxy import CLIENT, PAGE

COOKIE: Final = "_barong_session"
PREFIX: Final = "/api/v2/auth"


class PlayedBarong:
    """Barong's side of a login.

    Args:
        token: returns a token for a uid.
        passed: the beginnings of paths that its rules pass, for everybody and without a token.

    Attributes:
        asked: path of each request of Envoy's.
        sent: the tokens it gave to Envoy.
        keys: secret and uid of each API key.
    """

    def __init__(self, token: Callable[[str], str], passed: tuple[str, ...] = ()) -> None:
        self._token, self._passed = token, passed
        self._sessions: dict[str, tuple[str, str]] = {}  # uid and User-Agent
        self._nonces = set[str]()
        self.asked, self.sent = list[str](), list[str]()
        self.keys: dict[str, tuple[str, str]] = {}

    def log_in(self, uid: str, user_agent: str) -> str:
        """Start a session. Return its cookie."""
        session = secrets.token_hex(16)
        self._sessions[session] = uid, user_agent
        return f"{COOKIE}={session}"

    def log_out_all(self) -> None:
        self._sessions.clear()

    def authorize(self, path: str, headers: Any) -> str | None:
        """Return a token for the client of a request; None if it is unknown."""
        self.asked.append(path)
        uid = self._of_key(headers) if "X-Auth-Apikey" in headers else self._of_session(headers)
        if uid is None:
            return None
        self.sent.append(self._token(uid))
        return self.sent[-1]

    def _of_session(self, headers: Any) -> str | None:
        cookie = SimpleCookie(headers.get("Cookie", "")).get(COOKIE)
        uid, user_agent = self._sessions.get(cookie.value if cookie else "", (None, ""))
        return uid if user_agent == headers.get("User-Agent", "") else None

    def passes(self, path: str) -> bool:
        """Return whether the rules pass a request."""
        return path.startswith(self._passed)

    def _of_key(self, headers: Any) -> str | None:
        key, nonce = headers["X-Auth-Apikey"], headers.get("X-Auth-Nonce", "")
        secret, uid = self.keys.get(key, ("", ""))
        if (
            not uid
            or nonce in self._nonces
            or not hmac.compare_digest(signed(secret, nonce, key), headers.get("X-Auth-Signature", ""))
        ):
            return None
        self._nonces.add(nonce)
        return uid


def signed(secret: str, nonce: str, key: str) -> str:
    """Return the signature of a request with an API key."""
    return hmac.new(secret.encode(), (nonce + key).encode(), hashlib.sha256).hexdigest()


@contextmanager
def barong(
    token: Callable[[str], str], uid: str = "IDPAGE", port: int = 0, passed: tuple[str, ...] = ()
) -> Iterator[tuple[PlayedBarong, int]]:
    """Serve on a port of 127.0.0.1. Yield Barong and the port.

    Args:
        token, passed: see `PlayedBarong`.
        uid: whose session `/login` starts.
        port: 0 for a free one.
    """
    played = PlayedBarong(token, passed)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith(PREFIX):
                path = self.path.removeprefix(PREFIX)
                if played.passes(path):
                    self._answer(200, "", "text/plain")
                elif (token := played.authorize(path, self.headers)) is None:
                    self._answer(401, json.dumps({"errors": ["authz.invalid_session"]}), "application/json")
                else:
                    self._answer(200, "", "text/plain", Authorization=f"Bearer {token}")
            elif self.path == "/login":
                cookie = played.log_in(uid, self.headers.get("User-Agent", ""))
                self._answer(302, "", "text/plain", Location="/", Set_Cookie=f"{cookie}; Path=/; HttpOnly; Secure")
            elif self.path.startswith("/client/") and ".." not in self.path:
                self._answer(200, (CLIENT / self.path.removeprefix("/client/")).read_text(), "text/javascript")
            else:
                self._answer(200, PAGE, "text/html")

        def _answer(self, status: int, body: str, kind: str, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content_Type": kind, "Content_Length": str(len(body.encode())), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    with Server(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield played, server.server_port
        finally:
            server.shutdown()
            thread.join()
