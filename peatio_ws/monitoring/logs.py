"""Configures the log: one line per event, readable on a terminal, JSON elsewhere (`LOG_FORMAT`).

Tokens and payloads are never logged. With `LOG_ACCESS` each request is an event, too. `log_writer.py` writes the lines.

Errors also reach Python's `logging`, where reporters of errors such as Sentry's SDK listen, and appear in the log once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final

import structlog

from peatio_ws.config.settings import Settings
from peatio_ws.monitoring.log_writer import LogWriter
from peatio_ws.version import VERSION


def _add_process(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the process and the version: after an upgrade, the log has lines of both versions."""
    event["pid"], event["version"] = os.getpid(), VERSION
    return event


_SHARED: list[Any] = [
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    _add_process,
    structlog.processors.format_exc_info,
]


PACKAGE: Final = "peatio_ws"
_LEVELS: Final = {"error": logging.ERROR, "critical": logging.CRITICAL}
"""The levels that reach Python's `logging`, by the name of structlog's method."""
_TAKEN: Final = {*vars(logging.makeLogRecord({})), "message", "asctime"}
"""Names that fields of a log record cannot have."""
_IN_LINES: Final = ("exception", "stack")
"""Fields that may have several lines."""


def _renderers(settings: Settings) -> list[Any]:
    as_json = settings.log_format == "json" or (settings.log_format is None and not sys.stderr.isatty())
    if as_json:
        return [structlog.processors.JSONRenderer()]
    colors, plain = sys.stderr.isatty() and not os.environ.get("NO_COLOR"), structlog.dev.plain_traceback
    return [_escape, structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]


def never_wait(settings: Settings) -> None:
    """Make standard error and output independent of a reader that stalls.

    Call it before `configure` and `for_gunicorn`. Idempotent.
    """
    notice = _notice(settings)
    for name in ("stderr", "stdout"):
        stream = getattr(sys, name)
        if not isinstance(stream, LogWriter):
            setattr(sys, name, LogWriter(stream, notice))


def _notice(settings: Settings) -> Callable[[int], str]:
    """Return a function that makes the line about dropped lines."""
    processors = [*_SHARED, *_renderers(settings)]

    def notice(dropped: int) -> str:
        entry: Any = {"event": "log lines dropped; the log was not read in time", "dropped": dropped}
        entry["logger"] = "peatio_ws.monitoring.logs"
        for processor in processors:
            entry = processor(None, "warning", entry)
        return f"{entry}\n"

    return notice


def configure(settings: Settings) -> None:
    """Configure the package's log, on standard error."""
    level = getattr(logging, settings.log_level.upper())
    logging.getLogger(PACKAGE).addHandler(logging.NullHandler())  # so that `logging` prints nothing by default
    structlog.configure(
        processors=[_name, _report, *_SHARED, *_renderers(settings)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Named,
        cache_logger_on_first_use=True,
    )


def for_gunicorn(settings: Settings) -> dict[str, Any]:
    """Return the `logconfig_dict` that gives gunicorn's log the same format."""
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(settings)],
        "foreign_pre_chain": [structlog.stdlib.add_logger_name, *_SHARED, _request],
        "pass_foreign_args": True,
    }
    level = settings.log_level.upper()
    access = {"gunicorn.access": {"level": "INFO", "handlers": ["stderr"], "propagate": False}}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"structured": formatter},
        "filters": {"others": {"()": lambda: _is_of_others}},
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "structured", "filters": ["others"]},
        },
        "root": {"level": "WARNING", "handlers": ["stderr"]},
        "loggers": {
            "gunicorn.error": {"level": level, "handlers": ["stderr"], "propagate": False},
            **(access if settings.log_access else {}),
        },
    }


class _Named(structlog.WriteLogger):
    """A logger with a name that writes to standard error. A line that cannot be written is lost."""

    def __init__(self, name: str = "") -> None:
        super().__init__(sys.stderr)
        self.name = name

    def msg(self, message: str) -> None:
        with contextlib.suppress(OSError):
            super().msg(message)

    log = debug = info = warn = warning = fatal = failure = err = error = critical = exception = msg


def _name(logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if getattr(logger, "name", ""):
        event["logger"] = logger.name
    return event


def _report(_logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Pass an error with its exception and fields to Python's `logging`."""
    level = _LEVELS.get(method)
    if level is not None:
        fields = {name: value for name, value in event.items() if name not in _TAKEN | {"event", "logger"}}
        reporter = logging.getLogger(event.get("logger", PACKAGE))
        with contextlib.suppress(Exception):  # a reporter that fails harms nothing else
            reporter.log(level, str(event["event"]), exc_info=event.get("exc_info"), extra=fields)
    return event


def _is_of_others(record: logging.LogRecord) -> bool:
    """Return whether a record is not the gateway's own, which the log has already."""
    return record.name.partition(".")[0] != PACKAGE


def _request(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace the letters of gunicorn's access log (`access_log_format`) by named fields."""
    atoms = event.pop("positional_args", None)
    if event["logger"] == "gunicorn.access" and isinstance(atoms, Mapping):
        more = {
            "event": "request",
            "method": _printable(atoms["m"]),
            "path": _printable(atoms["U"]),
            "status": int(atoms["s"]),
            "address": _printable(atoms["h"]),
            "seconds": float(atoms["L"]),
            "bytes_sent": atoms["B"],
            "user_agent": _printable(atoms["a"]),
            "connection": atoms["{peatio_ws.connection}e"],
        }
        event.update(more)
    return event


def _escape(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape control characters (C0, C1, and those that change the direction of text).

    Without this, a text from a client or the broker could send commands to the terminal or start a new line of the log.
    JSON escapes them anyway.
    """
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            kept = "\n\t" if key in _IN_LINES else ""
            event[key] = "".join(
                char if char in kept or char.isprintable() else char.encode("unicode_escape").decode() for char in value
            )
    return event


def _printable(value: Any) -> str:
    """Return a client's text without characters that a terminal would interpret."""
    text = str(value)
    return text if text.isprintable() else ascii(text)
