"""The layout: packages import downwards only, pure modules are pure, and no file or function is too large."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import peatio_ws

PACKAGE = Path(peatio_ws.__file__).parent
ROOT = PACKAGE.parent

LEVELS = [
    {"close_codes", "version"},
    {"errors", "life_cycle", "concurrency"},
    {"auth"},
    {"protocol", "orderbook"},
    {"config"},
    {"monitoring"},
    {"transport", "amqp"},
    {"publisher"},
    {"routing", "cluster"},
    {"simulator", "console"},
    {"server"},
    {"__init__", "worker"},
    {"cli", "testing", "wsgi"},
    {"__main__"},
]
"""A package imports only packages of earlier lines. Packages of one line do not import each other."""

PURE = {"close_codes", "version", "errors", "life_cycle", "auth", "protocol", "orderbook", "config"}
"""Packages that use no socket, clock, environment or greenlet."""
NOT_PURE = {"auth.jwks_refresh", "auth.signing"}
ALSO_PURE = {
    *(f"transport.{name}" for name in "compression decoder frames inflate".split()),
    *(f"transport.http.{name}" for name in "client_address handshake headers".split()),
    *(f"routing.{name}" for name in "history seen_trades".split()),
    *(f"cluster.{name}" for name in "commands redis_keys tracing.messages".split()),
    *(f"simulator.{name}" for name in "matching members order_form publications simulation tape".split()),
    *(f"monitoring.{name}" for name in "counters throttled_warnings".split()),
    *(f"cli.check.{name}" for name in "broker_remedies remedies report".split()),
    "amqp.content_header",
    "concurrency.token_bucket",
    "amqp.source_state",
    "amqp.history_stream.offset",
    "server.routes",
    "server.tracing.descriptions",
}

NETWORK = set("amqp geventwebsocket gunicorn http kombu redis select socketserver".split())
IMPURE = NETWORK | set("gevent os prometheus_client random secrets socket subprocess threading time".split())
ALLOWED = {
    # Only py-amqp's parser of tables.
    "amqp.content_header": {"amqp"},
    # The environment is read only in `_given`: see below.
    "config.settings": {"os"},
    # A private generator with a fixed seed.
    "simulator.simulation": {"random"},
}

MOST_FILES_OF_A_FOLDER, MOST_MODULES_AT_THE_TOP = 16, 10
MOST_LINES_OF_A_FUNCTION, MOST_LINES_OF_A_FILE = 40, 300
LONG_FUNCTIONS: dict[str, str] = {}
LONG_FILES = {
    "transport.outbox": "the only place that writes to a client's socket, on which the order of frames depends",
}
WITHOUT_TEST_FILE = {
    "__main__": "two lines that call `cli.main`",
    "wsgi": "two lines that every live test runs",
    "protocol.public_events": "two structs without behaviour",
}
"""Modules without a test file, and why. Packages' `__init__` are exempt: `test_public_names.py` tests them."""


def name_of(path: Path) -> str:
    """Return the dotted name below the package: `amqp.consumer`. A package's `__init__` has the package's name."""
    return str(path.relative_to(PACKAGE).with_suffix("")).replace("/", ".")


MODULES = sorted(name_of(path) for path in PACKAGE.rglob("*.py"))


def path_of(module: str) -> Path:
    return PACKAGE / f"{module.replace('gunicorn.conf', 'gunicorn~conf').replace('.', '/').replace('~', '.')}.py"


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(path_of(module).read_text())


def is_pure(module: str) -> bool:
    return (module.partition(".")[0] in PURE and module not in NOT_PURE) or module in ALSO_PURE


PURE_MODULES = [module for module in MODULES if is_pure(module)]


def level_of(package: str) -> int:
    (found,) = [number for number, packages in enumerate(LEVELS) if package in packages]
    return found


def is_for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Return all nodes below, except those that only a type checker sees."""
    for child in ast.iter_child_nodes(node):
        if not is_for_types_only(child):
            yield child
            yield from nodes(child)


@cache
def imported(module: str) -> set[str]:
    """Return the full names of everything that a module imports: modules, and names from them."""
    names: set[str] = set()
    for node in nodes(tree(module)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports are not allowed"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def packages_imported(module: str) -> set[str]:
    """Return the packages and top-level modules of this package that a module imports."""
    known = {package for packages in LEVELS for package in packages}
    parts = [[*name.split("."), "__init__"][1] for name in imported(module) if name.split(".")[0] == "peatio_ws"]
    return {part if part in known else "__init__" for part in parts}


def libraries(module: str) -> set[str]:
    return {name.split(".")[0] for name in imported(module)}


def functions(module: str) -> Iterator[tuple[str, int]]:
    """Return the qualified name and number of lines of each function."""

    def below(node: ast.AST, name: str) -> Iterator[tuple[str, int]]:
        for child in ast.iter_child_nodes(node):
            inner = name
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inner = f"{name}.{child.name}"
                if not isinstance(child, ast.ClassDef) and child.end_lineno is not None:
                    yield inner, child.end_lineno - child.lineno + 1
            yield from below(child, inner)

    yield from below(tree(module), module)


# ---- imports


def test_every_package_is_in_the_table() -> None:
    assert {module.partition(".")[0] for module in MODULES} == {package for level in LEVELS for package in level}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_packages_above_its_own(module: str) -> None:
    own = module.partition(".")[0]
    for package in packages_imported(module) - {own}:
        assert level_of(package) < level_of(own), f"{module} imports {package}"


def test_the_consumer_does_not_know_the_router() -> None:
    assert not {name for name in imported("amqp.consumer") if name.startswith("peatio_ws.routing")}


@pytest.mark.parametrize("module", MODULES)
def test_no_module_uses_asyncio(module: str) -> None:
    assert not libraries(module) & {"asyncio", "trio", "anyio", "uvloop"}
    assert not [name for name in imported(module) if name.startswith("websockets.asyncio")]
    assert not [node for node in ast.walk(tree(module)) if isinstance(node, ast.AsyncFunctionDef | ast.Await)]


# ---- parents and children


def classes(module: str) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in ast.walk(tree(module)) if isinstance(node, ast.ClassDef)}


def names_of(defined: ast.ClassDef) -> set[str]:
    """Return a class's methods and the attributes that it sets."""
    methods = {node.name for node in ast.walk(defined) if isinstance(node, ast.FunctionDef)}
    return methods | {node.attr for node in of_self(defined) if isinstance(node.ctx, ast.Store)}


def of_self(defined: ast.ClassDef) -> list[ast.Attribute]:
    """Return the attributes of `self` that a class uses."""
    attributes = [node for node in ast.walk(defined) if isinstance(node, ast.Attribute)]
    return [node for node in attributes if isinstance(node.value, ast.Name) and node.value.id == "self"]


def test_a_class_uses_no_private_name_of_its_parent() -> None:
    every = {name: found for module in MODULES for name, found in classes(module).items()}
    for name, child in every.items():
        used = {node.attr for node in of_self(child) if node.attr.startswith("_") and not node.attr.startswith("__")}
        for parent in (every[base.id] for base in child.bases if isinstance(base, ast.Name) and base.id in every):
            assert not (used - names_of(child)) & names_of(parent), f"{name} uses private names of {parent.name}"


# ---- purity


@pytest.mark.parametrize("module", PURE_MODULES)
def test_pure_modules_use_no_socket_clock_environment_or_greenlet(module: str) -> None:
    assert libraries(module) & IMPURE <= ALLOWED.get(module, set())


@pytest.mark.parametrize("module", PURE_MODULES)
def test_a_pure_module_does_not_read_the_clock(module: str) -> None:
    attributes = {node.attr for node in nodes(tree(module)) if isinstance(node, ast.Attribute)}
    assert not attributes & {"now", "utcnow", "today", "monotonic", "perf_counter"}


def test_the_environment_is_read_in_one_function() -> None:
    settings = tree("config.settings")
    found = [
        function.name
        for function in nodes(settings)
        if isinstance(function, ast.FunctionDef)
        for node in nodes(function)
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("os.")
    ]
    everywhere = [node for node in nodes(settings) if isinstance(node, ast.Name) and node.id == "os"]
    assert found == ["_given"]
    assert len(everywhere) == 1


def test_pure_modules_use_ssl_for_files_and_error_codes_only() -> None:
    using = [module for module in PURE_MODULES if "ssl" in libraries(module)]
    assert using == ["config.settings", "config.tls_errors", "config.tls_files"]


@pytest.mark.parametrize("module", ["transport.outbox", *(name for name in MODULES if name.startswith("routing."))])
def test_outbox_and_routing_use_no_network_library(module: str) -> None:
    assert not libraries(module) & NETWORK
    assert not [name for name in imported(module) if name.startswith(("gevent.socket", "gevent.pywsgi", "gevent.ssl"))]
    for node in nodes(tree(module)):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "socket":
            assert node.attr.isupper(), f"socket.{node.attr} is more than a constant"
    frames = {name for name in imported(module) if name.startswith("websockets")}
    assert all(name.startswith("websockets.frames.") for name in frames)


def test_listed_libraries_exist() -> None:
    """A misspelt name in the lists above would have no effect."""
    for name in IMPURE:
        assert name in sys.stdlib_module_names or name in sys.modules or importlib.util.find_spec(name)
    assert {*NOT_PURE, *ALSO_PURE, *ALLOWED} <= set(MODULES)


# ---- size


@pytest.mark.parametrize("module", MODULES)
def test_every_file_begins_with_a_docstring(module: str) -> None:
    assert ast.get_docstring(tree(module))


def test_no_folder_has_too_many_files() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    count = {
        str(folder.relative_to(ROOT)): len([path for path in folder.iterdir() if path.is_file()]) for folder in folders
    }
    assert not {name: number for name, number in count.items() if number > MOST_FILES_OF_A_FOLDER}
    assert len([module for module in MODULES if "." not in module]) <= MOST_MODULES_AT_THE_TOP


def test_long_functions_have_a_reason() -> None:
    long = {name for module in MODULES for name, lines in functions(module) if lines > MOST_LINES_OF_A_FUNCTION}
    assert long == set(LONG_FUNCTIONS)


def test_long_files_have_a_reason() -> None:
    lines = {name: len(path_of(name).read_text().splitlines()) for name in MODULES}
    long = {name: count for name, count in lines.items() if count > MOST_LINES_OF_A_FILE and name not in LONG_FILES}
    assert not long, f"more than {MOST_LINES_OF_A_FILE} lines: move a part that stands for itself into another module"
    assert all(lines[name] > MOST_LINES_OF_A_FILE for name in LONG_FILES), "no longer long: remove it from LONG_FILES"


# ---- the documents, and the tests


def test_document_lists_every_package_in_import_order() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    table = page.partition("## Layout")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `(\w+)/?` ", table, re.MULTILINE)
    assert set(listed) == {package for level in LEVELS for package in level} - {"__init__", "__main__"}
    assert listed == sorted(listed, key=level_of)


def test_paths_in_the_document_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    for path in re.findall(r"`((?:\w+/)+[\w.]+\.\w+)`", page):
        assert (PACKAGE / path).exists() or (ROOT / path).exists(), path


def file_of_tests(module: str) -> Path:
    """Return the test file of a module: for `server.gunicorn.conf` it is `server/test_gunicorn_conf.py`."""
    path = path_of(module)
    folder = ROOT / "tests" / "unit" / path.parent.relative_to(PACKAGE)
    return folder / f"test_{path.stem.replace('.', '_')}.py"


@pytest.mark.parametrize("module", [name for name in MODULES if name.rpartition(".")[2] != "__init__"])
def test_modules_without_a_test_file_have_a_reason(module: str) -> None:
    assert file_of_tests(module).exists() is (module not in WITHOUT_TEST_FILE), file_of_tests(module)


def test_modules_without_a_test_file_exist() -> None:
    assert set(WITHOUT_TEST_FILE) <= set(MODULES)


def test_unit_tests_mirror_the_package() -> None:
    unit = ROOT / "tests" / "unit"
    for path in unit.rglob("test_*.py"):
        folder = path.parent.relative_to(unit)
        if folder.parts and folder.parts[0] not in ("bench", "client", "programs", "support"):
            assert (PACKAGE / folder / "__init__.py").exists(), path
