"""What the console serves to which clients, what is left to the application, and what is packaged."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from peatio_ws.console.page import Page

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "peatio_ws" / "console" / "static"
MODULES = sorted(path.name for path in FOLDER.glob("*.mjs") if path.name != "peatio-client.mjs")
FILES = ["/", *(f"/console/{name}" for name in ("base.css", "console.css", "icon.svg", *MODULES))]
SESSION = "/console/session"


class Answer:
    """An application's answer to one request, checked against PEP 3333 on both sides."""

    def __init__(self, app: Any, path: str, method: str = "GET", **environ: str) -> None:
        given: dict[str, Any] = {"PATH_INFO": path, "REQUEST_METHOD": method, "HTTP_HOST": "127.0.0.1:8080", **environ}
        setup_testing_defaults(given)
        given = {**given, "SCRIPT_NAME": environ.get("SCRIPT_NAME", ""), "PATH_INFO": path, "QUERY_STRING": ""}
        body = validator(app)(given, self._start)
        try:
            self.body = b"".join(body)
        finally:
            body.close()

    def _start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        self.status, self.headers = status, dict(headers)
        return lambda data: None


class App:
    """Another application with pages that a test chooses. Records requests, and whether its responses are closed."""

    def __init__(self, *paths: str, status: str = "404 Not Found") -> None:
        self.paths, self.status, self.asked, self.closed = paths, status, list[str](), 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.asked.append(environ["PATH_INFO"])
        found = environ["PATH_INFO"] in self.paths
        text = b"the application's own"
        start_response("200 OK" if found else self.status, [("Content-Type", "text/plain"), ("X-App", "yes")])
        return Body([text], self)


class Body:
    def __init__(self, parts: list[bytes], app: App) -> None:
        self.parts, self.app = parts, app

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.parts)

    def close(self) -> None:
        self.app.closed += 1


def page(app: App | None = None, app_first: bool = False, signs: bool = True) -> Page:
    return Page(app or App(), app_first, (lambda: "a.token") if signs else None, "btcusd")


# ---- the files


@pytest.mark.parametrize("path", [*FILES, "/console/peatio-client.mjs"])
def test_files_are_served_with_a_strict_policy(path: str) -> None:
    answer = Answer(page(), path)
    assert answer.status == "200 OK"
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self'",
        "connect-src": "'self' ws://127.0.0.1:8080 wss://127.0.0.1:8080",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    kinds = {"/": "text/html", "css": "text/css", "mjs": "text/javascript", "svg": "image/svg+xml"}
    assert answer.headers["Content-Type"].startswith(kinds[path.rpartition(".")[2]])


@pytest.mark.parametrize("host", ["evil; script-src *", "a b", "host:80x", "[::1", "x" * 300, ""])
def test_invalid_host_is_not_added_to_the_policy(host: str) -> None:
    policy = Answer(page(), "/", HTTP_HOST=host).headers["Content-Security-Policy"]
    assert "connect-src 'self'; " in policy
    assert policy.count("script-src") == 1


@pytest.mark.parametrize("host", ["exchange.example", "[::1]:8080"])
def test_policy_allows_websocket_of_the_same_host_in_all_browsers(host: str) -> None:
    policy = Answer(page(), "/", HTTP_HOST=host).headers["Content-Security-Policy"]
    assert f"connect-src 'self' ws://{host} wss://{host};" in policy


def test_page_complies_with_its_policy_and_needs_no_other_host() -> None:
    html = (FOLDER / "index.html").read_text()
    assert re.findall(r"<script(?![^>]*\bsrc=)", html) == []
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", html)
    for name in ("index.html", "base.css", "console.css", *MODULES):
        text = (FOLDER / name).read_text()
        assert (
            re.findall(r"(?:https?:)?//[a-z][a-z0-9.-]+\.[a-z]+", text.replace("http://www.w3.org/2000/svg", "")) == []
        )
        for link in re.findall(r'(?:(?:href|src)=|^import .* from )"([^"]+)"', text, re.MULTILINE):
            path = FOLDER / link.removeprefix("console/")
            assert path.is_file(), f"{name} names {link}"


def test_every_field_has_a_label_and_every_label_a_field() -> None:
    html = (FOLDER / "index.html").read_text()
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    for names in re.findall(r'(?:for|aria-labelledby)="([^"]+)"', html):
        assert set(names.split()) <= set(ids)
    script = "".join((FOLDER / name).read_text() for name in MODULES)
    assert set(re.findall(r'\$\("([a-z-]+)"\)', script)) <= set(ids)


def test_a_head_is_answered_without_a_body() -> None:
    whole, head = Answer(page(), "/"), Answer(page(), "/", "HEAD")
    assert (head.status, head.headers, head.body) == (whole.status, whole.headers, b"")


@pytest.mark.parametrize(("path", "method"), [("/", "POST"), ("/console/console.css", "PUT"), (SESSION, "GET")])
def test_other_methods_are_answered_with_the_allowed_ones(path: str, method: str) -> None:
    answer = Answer(page(), path, method)
    assert answer.status == "405 Method Not Allowed"
    assert answer.headers["Allow"] == ("POST" if path == SESSION else "GET, HEAD")


@pytest.mark.parametrize("path", ["/x", "/console", "/console/", "/console/index.html", "/console/../page.py", "//"])
def test_application_answers_all_other_requests(path: str) -> None:
    app = App()
    assert Answer(page(app), path).headers["X-App"] == "yes"
    assert app.asked == [path]


def test_mount_point_redirects_to_a_trailing_slash() -> None:
    """The page's links are relative: at `/gateway`, without the slash, they would lead elsewhere."""
    assert Answer(page(), "/", SCRIPT_NAME="/gateway").status == "200 OK"
    assert Answer(page(), "", SCRIPT_NAME="/gateway").headers["X-App"] == "yes"


def test_page_knows_whether_the_exchange_is_simulated() -> None:
    assert b'<html lang="en" data-simulated="yes" data-market="btcusd">' in Answer(page(), "/").body
    assert b'<html lang="en" data-simulated="no" data-market="btcusd">' in Answer(page(signs=False), "/").body


def test_page_uses_the_published_client() -> None:
    assert (FOLDER / "peatio-client.mjs").is_symlink()
    client = ROOT / "clients" / "js"
    for path in [client / "peatio-client.mjs", *(client / "src").iterdir()]:
        assert Answer(page(), f"/console/{path.relative_to(client)}").body == path.read_bytes()


def test_all_files_are_packaged() -> None:
    packed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    found = {path for pattern in packed["peatio_ws.console"] for path in (ROOT / "peatio_ws" / "console").glob(pattern)}
    assert found >= {path for path in [*FOLDER.iterdir(), *(FOLDER / "src").iterdir()] if path.is_file()}


# ---- tokens


@pytest.mark.parametrize("site", [{}, {"HTTP_SEC_FETCH_SITE": "same-origin"}])
def test_same_origin_page_receives_a_token(site: dict[str, str]) -> None:
    answer = Answer(page(), SESSION, "POST", **site)
    assert (answer.status, json.loads(answer.body)) == ("200 OK", {"token": "a.token"})
    assert answer.headers["Cache-Control"] == "no-store"
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
def test_cross_origin_page_receives_no_token(site: str) -> None:
    def sign() -> str:
        raise AssertionError("a token was made")

    answer = Answer(Page(App(), False, sign), SESSION, "POST", HTTP_SEC_FETCH_SITE=site)
    assert answer.status == "403 Forbidden"


def test_real_exchange_has_no_token_endpoint() -> None:
    assert Answer(page(signs=False), SESSION, "POST").headers["X-App"] == "yes"


# ---- with an application


def test_pages_of_the_application_take_precedence() -> None:
    app = App("/", "/console/console.css")
    for path in app.paths:
        answer = Answer(page(app, app_first=True), path)
        assert (answer.status, answer.body) == ("200 OK", b"the application's own")
        assert answer.headers["X-App"] == "yes"
    assert app.closed == 2


def test_console_is_served_where_the_application_has_no_page() -> None:
    app = App("/about")
    for path in FILES:
        answer = Answer(page(app, app_first=True), path)
        assert answer.status == "200 OK"
        assert "X-App" not in answer.headers
    assert app.closed == len(FILES)
    assert json.loads(Answer(page(app, app_first=True), SESSION, "POST").body) == {"token": "a.token"}


@pytest.mark.parametrize("status", ["403 Forbidden", "302 Found", "500 Internal Server Error"])
def test_refusals_of_the_application_are_kept(status: str) -> None:
    assert Answer(page(App(status=status), app_first=True), "/").status == status


def test_application_may_call_start_response_late() -> None:
    def late(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        found = environ["PATH_INFO"] == "/"
        start_response("200 OK" if found else "404 Not Found", [("Content-Type", "text/plain")])
        yield b"one"
        yield b"two"

    mixed = Page(late, True, None)
    assert Answer(mixed, "/").body == b"onetwo"
    assert Answer(mixed, "/console/icon.svg").headers["Content-Type"] == "image/svg+xml"


@pytest.mark.parametrize("parts", [0, 1])
def test_response_of_the_application_is_closed_if_a_client_does_not_read_it(parts: int) -> None:
    app, environ = App("/"), {"PATH_INFO": "/", "REQUEST_METHOD": "GET"}
    body: Any = page(app, app_first=True)(environ, lambda *_: None)
    read = iter(body)
    for _ in range(parts):
        assert next(read) == b"the application's own"
    body.close()
    assert app.closed == 1


def test_response_of_the_application_is_closed_if_its_first_part_fails() -> None:
    class Failing(App):
        def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            start_response("200 OK", [("Content-Type", "text/plain")])
            return FailingBody([], self)

    class FailingBody(Body):
        def __iter__(self) -> Iterator[bytes]:
            raise RuntimeError("the database is down")

    app = Failing("/")
    with pytest.raises(RuntimeError):
        page(app, app_first=True)({"PATH_INFO": "/", "REQUEST_METHOD": "GET"}, lambda *_: None)
    assert app.closed == 1
