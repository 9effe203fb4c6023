"""A Flask and a Django application with the same pages, which do what applications usually do.

/page, /jump and /cookies; /stream, whose second part comes after a request for /go; /file and /size, which send and
receive a large body; /ignores, which does not read its request; /nothing, and /bug.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import django
import flask
from django import http
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.urls import path
from gevent.event import Event

PAGE = "<p>grüße</p>"
FILE = bytes(range(256)) * 4096
WAIT = 10.0


class Stream:
    def __init__(self) -> None:
        self._go = Event()

    def parts(self) -> Iterator[bytes]:
        self._go.clear()
        yield b"first,"
        assert self._go.wait(WAIT)
        yield b"second"

    def go(self) -> str:
        self._go.set()
        return "gone"


# ---- Flask

flask_app = flask.Flask(__name__)
_flask_stream = Stream()


@flask_app.get("/page")
def page() -> str:
    return PAGE


@flask_app.get("/jump")
def jump() -> flask.typing.ResponseReturnValue:
    return flask.redirect("/page")


@flask_app.get("/cookies")
def cookies() -> flask.Response:
    response = flask.jsonify(flask.request.cookies)
    response.set_cookie("a", "1", httponly=True)
    response.set_cookie("b", "2", max_age=60)
    return response


@flask_app.get("/stream")
def stream() -> flask.Response:
    return flask.Response(_flask_stream.parts(), mimetype="text/csv")


@flask_app.get("/go")
def go() -> str:
    return _flask_stream.go()


@flask_app.get("/file")
def file() -> flask.Response:
    return flask.send_file(io.BytesIO(FILE), "application/octet-stream")


@flask_app.post("/size")
def size() -> flask.Response:
    body = flask.request.files["document"].read() if flask.request.files else flask.request.get_data()
    return flask.jsonify(len(body))


@flask_app.post("/ignores")
def ignores() -> str:
    return "never mind"


@flask_app.delete("/nothing")
def nothing() -> tuple[str, int]:
    return "", 204


@flask_app.get("/bug")
def bug() -> str:
    raise RuntimeError("a bug of the application")


# ---- Django

if not settings.configured:
    settings.configure(
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["*"],
        DATA_UPLOAD_MAX_MEMORY_SIZE=None,
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    )
    django.setup()

_django_stream = Stream()


def _cookies(request: http.HttpRequest) -> http.HttpResponse:
    response = http.JsonResponse(request.COOKIES)
    response.set_cookie("a", "1", httponly=True)
    response.set_cookie("b", "2", max_age=60)
    return response


def _size(request: http.HttpRequest) -> http.HttpResponse:
    body = request.FILES["document"].read() if request.FILES else request.body
    return http.HttpResponse(json.dumps(len(body)))


def _bug(request: http.HttpRequest) -> http.HttpResponse:
    raise RuntimeError("a bug of the application")


urlpatterns = [
    path("page", lambda request: http.HttpResponse(PAGE)),
    path("jump", lambda request: http.HttpResponseRedirect("/page")),
    path("cookies", _cookies),
    path("stream", lambda request: http.StreamingHttpResponse(_django_stream.parts(), content_type="text/csv")),
    path("go", lambda request: http.HttpResponse(_django_stream.go())),
    path("file", lambda request: http.FileResponse(io.BytesIO(FILE))),
    path("size", _size),
    path("ignores", lambda request: http.HttpResponse("never mind")),
    path("nothing", lambda request: http.HttpResponse(status=204)),
    path("bug", _bug),
]
django_app = WSGIHandler()
