"""The registry of handlers, by path and by event."""

from __future__ import annotations

from typing import Any

import pytest

from peatio_ws.server.routes import Handlers


def one(*_: Any) -> None:
    """Handle nothing."""


def another(*_: Any) -> None:
    """Handle nothing, as another function."""


@pytest.mark.parametrize(
    ("registered", "asked", "found"),
    [
        ("/echo", "/echo", True),
        ("/echo", "/echo/", True),
        ("/echo/", "/echo", True),
        ("/echo", "/echo//", False),
        ("/echo", "/Echo", False),
        ("/echo", "/echo/more", False),
        ("/echo", "/an/echo", False),
        ("/echo", "", False),
        ("/", "", True),
        ("/", "/", True),
        ("/", "/echo", False),
        ("/grüße", "/grüße".encode().decode("latin-1"), True),  # as WSGI decodes it
        ("/grüße", "/grüße", False),
    ],
)
def test_path_is_matched_exactly_except_for_a_trailing_slash(registered: str, asked: str, found: bool) -> None:
    handlers = Handlers()
    assert handlers.add_path(registered, one) is one
    route = handlers.of({"SCRIPT_NAME": "/mounted", "PATH_INFO": asked})
    assert (route is not None) is found
    if route is not None:
        assert (route.path, route.handler) == (registered, one)


@pytest.mark.parametrize("path", ["", "echo", "/echo?a=b", "/echo#a", "ws://host/echo"])
def test_invalid_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="is not a path"):
        Handlers().add_path(path, one)


@pytest.mark.parametrize("again", ["/echo", "/echo/"])
@pytest.mark.parametrize("handler", [one, another])
def test_a_path_has_one_handler(again: str, handler: Any) -> None:
    handlers = Handlers()
    handlers.add_path("/echo", one)
    with pytest.raises(ValueError, match=r"has a handler already: tests\.unit\.server\.test_routes\.one"):
        handlers.add_path(again, handler)


@pytest.mark.parametrize("name", ["subscribe", "unsubscribe", "jwt"])
def test_built_in_event_names_cannot_be_handlers(name: str) -> None:
    with pytest.raises(ValueError, match="by the gateway itself"):
        Handlers().add_event(name, one)


def test_an_event_has_a_name_and_one_handler() -> None:
    handlers = Handlers()
    handlers.add_event("cancel", one)
    for handler in (one, another):
        with pytest.raises(ValueError, match="has a handler already"):
            handlers.add_event("cancel", handler)
    with pytest.raises(ValueError, match="needs a name"):
        handlers.add_event("", one)
    assert handlers.events == {"cancel": one}
