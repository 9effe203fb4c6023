"""The house: imports go down the list of rooms only, the pure rooms are pure, nothing grows too large."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import peatio_ws

PACKAGE = Path(peatio_ws.__file__).parent

PURE = [
    *"errors redis_keys throttled streams stream_names keys jwks identity auth subscription_rules".split(),
    *"faults trusted_proxies origins variables".split(),
    *"tls_files tls_faults urls settings misspelt client_address".split(),
    *"revocations steering failures".split(),
    *"events levels books history cursor seen_trades frames dialects".split(),
    *"fields handshake request actions echo session".split(),
    *"handlers incoming matching announcing simulation findings diagnosis broker_diagnosis tally stream_state".split(),
]
WITHOUT_NETWORK = ["pace", "outbox", "feeds", "receiver", "router", "replay"]
ROOMS = [
    *PURE,
    *WITHOUT_NETWORK,
    *"backoff supervise blocking metric_files metrics limits websocket http_handler handler".split(),
    *"amqp_tls amqp_transport broker source topology demand queue_source marker stream_setup".split(),
    *"history_stream consumer publisher embedded".split(),
    *"shared redis_link redis_members redis_books redis_limits redis_steering redis_shared".split(),
    *"log_writer logs key_source interest intake house numbering caller".split(),
    *"signing demonstration page seated resumption client connection".split(),
    *"meter drain roster control gateway ports health worker master".split(),
    *"tokens publishing listening commanding broker_probe redis_probe".split(),
    *"probing checking cli_steering cli testing".split(),
    "__init__",
    "__main__",
    "wsgi",
    "gunicorn.conf",
]
"""A room imports only rooms before it."""

NETWORK = set("amqp geventwebsocket gunicorn http kombu redis select socketserver".split())
IMPURE = NETWORK | set("gevent os prometheus_client random secrets socket subprocess threading time".split())
ALLOWED = {
    # The environment is read in `_given`, and there only: see below.
    "settings": {"os"},
    # A generator of its own, which is given its seed.
    "simulation": {"random"},
}

MOST_LINES_OF_A_FUNCTION, MOST_LINES_OF_A_FILE = 40, 300
LONG_FUNCTIONS: dict[str, str] = {}
LONG_FILES = {
    "outbox": "the only place that writes to a client's socket, on which the order of frames depends",
    "cli": "eight small commands, whose help texts are most of it; nobody looks for `token` in another file",
    "events": "Peatio's field names and their readings, which are one table and its rules",
    "feeds": "one register: each of its methods keeps the same tables right",
}


def tree(room: str) -> ast.Module:
    return ast.parse((PACKAGE / f"{room}.py").read_text())


def is_for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All below, but not what only a type checker sees."""
    for child in ast.iter_child_nodes(node):
        if not is_for_types_only(child):
            yield child
            yield from nodes(child)


def imported(room: str) -> set[str]:
    """Full names of what a room imports: modules, and what it takes out of them."""
    names: set[str] = set()
    for node in nodes(tree(room)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are written in full"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def libraries(room: str) -> set[str]:
    return {name.split(".")[0] for name in imported(room)}


def functions(room: str) -> Iterator[tuple[str, int]]:
    """Qualified name and number of lines of each function."""

    def below(node: ast.AST, name: str) -> Iterator[tuple[str, int]]:
        for child in ast.iter_child_nodes(node):
            inner = name
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inner = f"{name}.{child.name}"
                if not isinstance(child, ast.ClassDef) and child.end_lineno is not None:
                    yield inner, child.end_lineno - child.lineno + 1
            yield from below(child, inner)

    yield from below(tree(room), room)


def test_every_file_is_a_room_with_its_place_in_the_list() -> None:
    assert {path.stem for path in PACKAGE.rglob("*.py")} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_before_it(room: str) -> None:
    before = set(ROOMS[: ROOMS.index(room)])
    for name in imported(room):
        if name == "peatio_ws" or name.startswith("peatio_ws."):
            target = [*name.split("."), "__init__"][1]
            assert (target if target in ROOMS else "__init__") in before, f"{room} imports {name}"


@pytest.mark.parametrize("room", PURE)
def test_a_pure_room_knows_no_socket_clock_environment_or_greenlet(room: str) -> None:
    assert libraries(room) & IMPURE <= ALLOWED.get(room, set())


@pytest.mark.parametrize("room", PURE)
def test_a_pure_room_asks_nobody_for_the_time(room: str) -> None:
    asked = {node.attr for node in nodes(tree(room)) if isinstance(node, ast.Attribute)}
    assert not asked & {"now", "utcnow", "today", "monotonic", "perf_counter"}


def test_the_environment_is_read_in_one_place_of_the_pure_rooms() -> None:
    found = [
        function.name
        for function in nodes(tree("settings"))
        if isinstance(function, ast.FunctionDef)
        for node in nodes(function)
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("os.")
    ]
    everywhere = [node for node in nodes(tree("settings")) if isinstance(node, ast.Name) and node.id == "os"]
    assert found == ["_given"]
    assert len(everywhere) == 1


def test_the_pure_rooms_that_use_ssl_look_at_files_and_codes_of_errors_only() -> None:
    assert [room for room in PURE if "ssl" in libraries(room)] == ["tls_files", "tls_faults", "settings"]


@pytest.mark.parametrize("room", WITHOUT_NETWORK)
def test_outbox_and_router_know_no_network_library(room: str) -> None:
    assert not libraries(room) & NETWORK
    assert not [name for name in imported(room) if name.startswith(("gevent.socket", "gevent.pywsgi", "gevent.ssl"))]
    for node in nodes(tree(room)):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "socket":
            assert node.attr.isupper(), f"socket.{node.attr} is more than a constant"
    frames = {name for name in imported(room) if name.startswith("websockets")}
    assert all(name.startswith("websockets.frames.") for name in frames)


def test_the_consumer_does_not_know_the_router() -> None:
    assert not {name for name in imported("consumer") if name.startswith("peatio_ws.router")}


@pytest.mark.parametrize("room", ROOMS)
def test_nobody_knows_asyncio(room: str) -> None:
    assert not libraries(room) & {"asyncio", "trio", "anyio", "uvloop"}
    assert not [name for name in imported(room) if name.startswith("websockets.asyncio")]
    assert not [node for node in ast.walk(tree(room)) if isinstance(node, ast.AsyncFunctionDef | ast.Await)]


@pytest.mark.parametrize("room", ROOMS)
def test_a_file_begins_with_what_it_is_for(room: str) -> None:
    assert ast.get_docstring(tree(room))


def test_no_function_is_longer_than_a_screen_but_for_a_reason() -> None:
    long = {name for room in ROOMS for name, lines in functions(room) if lines > MOST_LINES_OF_A_FUNCTION}
    assert long == set(LONG_FUNCTIONS)


def test_no_file_is_longer_than_one_can_read_but_for_a_reason() -> None:
    long = {path.stem for path in PACKAGE.rglob("*.py") if len(path.read_text().splitlines()) > MOST_LINES_OF_A_FILE}
    assert long == set(LONG_FILES)


def test_every_room_is_told_of_and_no_other() -> None:
    """Whoever looks for the line to change begins with that table."""
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    table = page.partition("## Finding one's way")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    told = [name for row in rows for name in re.findall(r"`([a-z_.]+)`", row)]
    assert told == [room for room in ROOMS if room not in ("__init__", "__main__")], "in the order of their imports"


def test_names_of_libraries_are_spelled_right() -> None:
    """A misspelt name in the lists above would forbid nothing."""
    for name in IMPURE:
        assert name in sys.stdlib_module_names or name in sys.modules or importlib.util.find_spec(name)
