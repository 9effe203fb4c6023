"""Log lines before and after they are rendered."""

from __future__ import annotations

import ast
import io
import logging
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from peatio_ws.monitoring import logs
from peatio_ws.version import VERSION
from tests.support.gateway import ROOT
from tests.unit.samples import settings


def line(**atoms: str) -> dict[str, Any]:
    """Return a request as gunicorn logs it."""
    known = defaultdict(str, {"s": "404", "L": "0.001", "B": "0", **atoms})
    return dict(logs._request(None, "info", {"logger": "gunicorn.access", "positional_args": known}))


def test_client_cannot_write_terminal_codes_into_the_log() -> None:
    logged = line(U="/\x1b]0;mine\x07", a="\x1b[2J", m="GET\x9b", h="\x1b")
    for name in ("path", "user_agent", "method", "address"):
        assert logged[name].isprintable()
    assert logged["path"] == r"'/\x1b]0;mine\x07'"


def test_printable_text_is_logged_unchanged() -> None:
    logged = line(U="/ranger/public", a="Mozilla/5.0 (X11)", m="GET", h="10.0.0.1")
    assert (logged["path"], logged["user_agent"], logged["method"], logged["address"]) == (
        "/ranger/public",
        "Mozilla/5.0 (X11)",
        "GET",
        "10.0.0.1",
    )


def test_every_line_has_the_process_and_the_version() -> None:
    event: Any = {"event": "said"}
    for processor in logs._SHARED:
        event = processor(None, "info", event)
    assert (event["pid"], event["version"]) == (os.getpid(), VERSION)


def test_no_event_has_a_field_that_every_line_has() -> None:
    taken = {"pid", "version", "level", "timestamp", "logger", "event"}
    found = [
        f"{path.name}:{call.lineno} {field.arg}"
        for path in (ROOT / "peatio_ws").rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "log"
        for field in call.keywords
        if field.arg in taken
    ]
    assert found == []


CONTROLS = [chr(code) for code in (*range(32), *range(0x7F, 0xA0), 0x2028, 0x2029, 0x202E, 0x2066, 0xFEFF, 0xDC9B)]


def rendered(log_format: str, **event: Any) -> str:
    """Return an event as the package's own log writes it."""
    value: Any = {"event": "said", **event}
    for processor in logs._renderers(settings(LOG_FORMAT=log_format)):
        value = processor(None, "info", value)
    return str(value)


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("control", CONTROLS, ids=ascii)
def test_no_control_character_reaches_the_terminal(log_format: str, control: str) -> None:
    for value in (
        f"a{control}b",
        f"a b{control}",
        control,
        [control],
        {control: control},
        control.encode(errors="replace"),
    ):
        assert rendered(log_format, said=value).isprintable()
    assert rendered(log_format, event=f"said{control}so").isprintable()


@pytest.mark.parametrize(("value", "shown"), [("", True), ("1", False)])
def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch, value: str, shown: bool) -> None:
    monkeypatch.setenv("NO_COLOR", value)
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert ("\x1b[" in rendered("text", more="x")) is shown


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_printable_text_is_rendered_unchanged() -> None:
    assert rendered("text", said="Zoë-\\n") == "said                           said=Zoë-\\n"


def test_traceback_keeps_its_lines_and_escapes_terminal_codes() -> None:
    try:
        raise ValueError("\x1b[2J\x9b")
    except ValueError:
        event = structlog.processors.format_exc_info(None, "error", {"event": "failed", "exc_info": True})
    text = rendered("text", **event)
    assert len(text.splitlines()) > 3
    assert all(line.isprintable() for line in text.splitlines())
    assert r"\x1b[2J\x9b" in text


class Reporter(logging.Handler):
    """Keeps records as Sentry's SDK would report them."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def reporter() -> Iterator[Reporter]:
    handler = Reporter()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


def test_errors_reach_pythons_logging_with_exception_and_fields(reporter: Reporter) -> None:
    error = ValueError("why")
    event: Any = {"event": "handler failed 100%", "logger": "peatio_ws.x", "connection": "c1", "name": "taken"}
    assert logs._report(None, "error", {**event, "exc_info": error}) == {**event, "exc_info": error}
    for method in ("debug", "info", "warning"):
        logs._report(None, method, dict(event))
    (record,) = reporter.records
    assert (record.name, record.levelno, record.getMessage()) == ("peatio_ws.x", logging.ERROR, "handler failed 100%")
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    assert vars(record)["connection"] == "c1"


def test_errors_appear_once_in_the_gateways_log() -> None:
    (chosen,) = logs.for_gunicorn(settings())["filters"].values()
    is_shown = chosen["()"]()
    for name, shown in (
        ("peatio_ws.server.gateway", False),
        ("peatio_ws", False),
        ("peatio", True),
        ("gunicorn.error", True),
    ):
        assert is_shown(logging.makeLogRecord({"name": name})) is shown


def test_reporter_that_raises_is_harmless(reporter: Reporter, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_record: logging.LogRecord) -> None:
        raise RuntimeError

    monkeypatch.setattr(reporter, "emit", fail)
    logs._report(None, "error", {"event": "failed"})
