"""The registry of handlers, by path and by event."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.errors import Refused
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


# ---- parameters


def keep(*given: Any, **parameters: str) -> None:
    """Keep the parameters in the connection, which is a list here."""
    given[0].append(parameters)


def parameters_of(handlers: Handlers, path: str) -> tuple[str, dict[str, str]] | None:
    """Return the registered path that matches, and the parameters that its handler gets."""
    route = handlers.of({"PATH_INFO": path})
    if route is None:
        return None
    kept: list[dict[str, str]] = []
    route.handler(kept)
    return route.path, kept[0]


@pytest.mark.parametrize(
    ("registered", "asked", "expected"),
    [
        ("/room/<name>", "/room/abc", {"name": "abc"}),
        ("/room/<name>", "/room/abc/", {"name": "abc"}),
        ("/room/<name>/", "/room/abc", {"name": "abc"}),
        ("/room/<name>", "/room/<name>", {"name": "<name>"}),
        ("/room/<name>", "/room/gr\u00fc\u00dfe".encode().decode("latin-1"), {"name": "gr\u00fc\u00dfe"}),
        ("/<a>/<b>", "/1/2", {"a": "1", "b": "2"}),
        ("/<a>/x/<b>", "/1/x/2", {"a": "1", "b": "2"}),
        ("/room/<name>", "/room/", None),
        ("/room/<name>", "/room", None),
        ("/room/<name>", "/room//", None),
        ("/room/<name>", "/room/abc/more", None),
        ("/room/<name>", "/Room/abc", None),
        ("/room/<name>", "/room/\xff", None),
        ("/<a>/x/<b>", "/1/y/2", None),
    ],
)
def test_parameters_of_a_path_are_passed_to_its_handler(
    registered: str, asked: str, expected: dict[str, str] | None
) -> None:
    handlers = Handlers()
    handlers.add_path(registered, keep)
    assert parameters_of(handlers, asked) == (None if expected is None else (registered, expected))


def test_literal_segments_have_priority_from_the_left() -> None:
    handlers = Handlers()
    for path in ("/<a>/<b>", "/<a>/x", "/y/<b>", "/y/x"):
        handlers.add_path(path, keep)
    found = {path: parameters_of(handlers, path) for path in ("/y/x", "/y/z", "/z/x", "/z/z")}
    assert found == {
        "/y/x": ("/y/x", {}),
        "/y/z": ("/y/<b>", {"b": "z"}),
        "/z/x": ("/<a>/x", {"a": "z"}),
        "/z/z": ("/<a>/<b>", {"a": "z", "b": "z"}),
    }


@pytest.mark.parametrize(
    "path", ["/room/<>", "/room/<a-b>", "/room/<1>", "/room/x<a>", "/room/<a>x", "/room/<a", "/a>b"]
)
def test_malformed_parameter_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="a parameter is a whole segment"):
        Handlers().add_path(path, one)


def test_parameter_that_the_handler_does_not_take_is_refused() -> None:
    def handler(ws: Any, name: str) -> None:
        """Take one parameter."""

    for path in ("/<room>", "/<ws>", "/<name>/<room>"):
        with pytest.raises(ValueError, match=r"has to take its parameters: def handler\(ws, "):
            Handlers().add_path(path, handler)
    with pytest.raises(ValueError, match="two parameters of the same name"):
        Handlers().add_path("/<name>/<name>", handler)
    Handlers().add_path("/<name>", handler)


def test_two_paths_that_match_the_same_are_refused() -> None:
    handlers = Handlers()
    handlers.add_path("/room/<a>", keep)
    with pytest.raises(ValueError, match=r"keep, as '/room/<a>'"):
        handlers.add_path("/room/<b>/", keep)


@given(st.text(alphabet="/<>ab\xff", max_size=12))
def test_any_path_is_matched_or_not(path: str) -> None:
    handlers = Handlers()
    handlers.add_path("/a/<x>", keep)
    handlers.add_path("/<x>/<y>/b", keep)
    found = parameters_of(handlers, path)
    assert found is None or all(found[1].values())


# ---- paths of Peatio


@pytest.mark.parametrize("path", ["/public", "/public/", "", "/", "/echo", "/room/1"])
def test_served_path_is_found(path: str) -> None:
    handlers = Handlers(["/", "/public"])
    handlers.add_path("/echo", one)
    handlers.add_path("/room/<name>", keep)
    assert (handlers.of({"PATH_INFO": path}) is None) is (path.strip("/") in ("", "public"))


@pytest.mark.parametrize("path", ["/private", "/public/more", "/a/public", "/room", "/room/"])
def test_path_that_nobody_serves_is_404(path: str) -> None:
    handlers = Handlers(["/", "/public"])
    handlers.add_path("/room/<name>", keep)
    with pytest.raises(Refused) as refused:
        handlers.of({"PATH_INFO": path})
    assert refused.value.code == 404
    assert Handlers().of({"PATH_INFO": path}) is None, "by default all paths are Peatio's"


def test_path_of_peatio_is_checked() -> None:
    with pytest.raises(ValueError, match="is not a path"):
        Handlers(["public"])


# ---- subprotocols


@pytest.mark.parametrize("name", ["", "a b", "a,b", "\u00e4", "a\r\nX: y"])
def test_subprotocol_that_cannot_be_sent_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a subprotocol"):
        Handlers().add_path("/", one, subprotocols=["chat.v1", name])


def test_subprotocols_are_a_list() -> None:
    with pytest.raises(TypeError, match=r"\['chat.v1'\]"):
        Handlers().add_path("/", one, subprotocols="chat.v1")
