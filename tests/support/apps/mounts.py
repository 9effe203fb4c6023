"""A gateway among other WSGI applications: it wraps one, is wrapped by middleware, and is mounted in frameworks.

    gunicorn tests.support.apps.mounts

There is one gateway; `MOUNTS` lists its paths.
"""

from __future__ import annotations

import gc
import gzip
import json
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.validate import validator

import bottle
import flask
from django.http import HttpRequest, HttpResponse
from django.urls import re_path
from pyramid.config import Configurator
from pyramid.wsgi import wsgiapp2
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.lint import LintMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.wrappers import Request

from peatio_ws import Gateway
from peatio_ws.errors import Refused
from tests.support.apps import sites

WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def wrapped(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The wrapped application: returns its path, and whether requests that became WebSockets are still held. A
    POST is pushed to the member in its query."""
    if environ["REQUEST_METHOD"] == "POST":
        gateway.publisher.to_member(environ["QUERY_STRING"], "message", environ["wsgi.input"].read())
    gc.collect()
    held = sum(type(found) is dict and "HTTP_SEC_WEBSOCKET_KEY" in found for found in gc.get_objects())
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps([environ["SCRIPT_NAME"], environ["PATH_INFO"], held]).encode()]


gateway = Gateway.from_env(app=DispatcherMiddleware(wrapped, {"/flask": sites.flask_app, "/django": sites.django_app}))


def by_cookie(environ: dict[str, Any]) -> str | None:
    """Identify clients as an application may do it, by a cookie."""
    cookie = environ.get("HTTP_COOKIE", "")
    if cookie == "banned":
        raise Refused("403 Forbidden", "You are banned.")
    if cookie == "bug":
        raise RuntimeError("the sessions' database is away")
    return cookie or None


@gateway.websocket("/ws/who", identify=lambda environ: environ.get("REMOTE_USER"))  # already identified by a view
@gateway.websocket("/who", identify=by_cookie)
def who(ws: Any) -> None:
    """Send a client its identity and path, and what is pushed to that member."""
    if ws.member is not None:
        ws.subscribe("message")
    ws.send(json.dumps([ws.member and ws.member.uid, Request(ws.environ).base_url]))
    for _ in ws:
        pass


# ---- typical middleware


def timed(app: WSGIApp) -> WSGIApp:
    """Measure the time of a request and return it in a header."""

    def middleware(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        started = time.monotonic()

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(status, [*headers, ("X-Seconds", f"{time.monotonic() - started:.6f}")], exc_info)

        return app(environ, start)

    return middleware


def gzipped(app: WSGIApp) -> WSGIApp:
    """Collect the whole answer, as compressing or caching middleware does. Asserts that there is a status."""

    def middleware(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        called_with: list[Any] = []
        result = app(environ, lambda *given: called_with.append(given) or called_with.append)
        try:
            body = gzip.compress(b"".join(result))
        finally:
            if hasattr(result, "close"):
                result.close()
        (status, headers, *_), *written = called_with
        assert not written
        start_response(status, [*headers, ("Content-Encoding", "gzip"), ("Content-Length", str(len(body)))])
        return [body]

    return middleware


def lazy(app: WSGIApp) -> WSGIApp:
    """Return a generator: the application is called when the server asks for the first part of the body."""

    def middleware(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        yield from app(environ, start_response)

    return middleware


def copied(app: WSGIApp) -> WSGIApp:
    """Pass on a copy of the environ."""
    return lambda environ, start_response: app(dict(environ), start_response)


# ---- frameworks

bottle_app = bottle.Bottle()
bottle_app.mount("/ws/", gateway)

with Configurator() as config:
    config.add_route("ws", "/ws*subpath")
    config.add_view(wsgiapp2(gateway), route_name="ws")
    pyramid_app = config.make_wsgi_app()


@sites.flask_app.route("/ws/", websocket=True)
@sites.flask_app.route("/ws/<path:path>", websocket=True)
def flask_view(path: str = "") -> Gateway:
    flask.request.environ["REMOTE_USER"] = flask.request.headers.get("Cookie")
    return gateway


@sites.flask_app.route("/legacy", websocket=True)
def legacy_view() -> str:
    """A view of the application itself, written for gevent-websocket."""
    ws = flask.request.environ["wsgi.websocket"]
    while (message := ws.receive()) is not None and message != "enough":
        ws.send(flask.request.path + {"hello": " says hello"}[message])
    return ""


def django_view(request: HttpRequest) -> HttpResponse:
    """Any WSGI application as a view."""
    request.environ["REMOTE_USER"] = request.headers.get("Cookie")
    response = HttpResponse()

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        response.status_code = int(status.split()[0])
        for name, value in headers:
            response[name] = value
        return response.write

    response.content = gateway(request.environ, start_response)
    return response


sites.urlpatterns.append(re_path("^ws/", django_view))


MOUNTS: dict[str, WSGIApp] = {
    "/bare": gateway,
    "/timed": timed(gateway),
    "/gzipped": gzipped(gateway),
    "/lazy": lazy(gateway),
    "/copied": copied(gateway),
    "/validated": validator(gateway),
    "/linted": LintMiddleware(gateway),
    "/proxied": ProxyFix(gateway, x_for=1, x_host=1),
    "/all": ProxyFix(timed(copied(lazy(gzipped(validator(gateway)))))),
    "/mounted/bottle": bottle_app,
    "/mounted/pyramid": pyramid_app,
    "/mounted/flask": sites.flask_app,
    "/mounted/django": sites.django_app,
}

application = DispatcherMiddleware(gateway, MOUNTS)
