"""Counts and logs the limits that clients reach. Each limit is logged once a minute.

`docs/security.md` lists the limits. Knows metrics and the log; does not enforce the limits.
"""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Any, Final

import structlog

from peatio_ws.errors import PeatioWsError
from peatio_ws.monitoring import metrics
from peatio_ws.monitoring.throttled_warnings import Throttle

log = structlog.get_logger("peatio_ws.monitoring.limits")

LOG_SECONDS: Final = 60.0
"""A limit is logged once in this time, with the number of times it was reached since the last line."""
LINES_A_MINUTE: Final = 300
"""Log lines of a kind that clients can cause in a minute. The next minute's first line has the number left out."""


class Limit(StrEnum):
    """Labels of `peatio_ws_limits_reached_total`."""

    PROXY_HEADER = "proxy_header"
    TLS_TIME = "tls_time"
    REQUEST_TIME = "request_time"
    REQUEST_SIZE = "request_size"
    PENDING = "pending_requests"
    BODY = "body"
    ANSWER_TIME = "answer_time"
    OPEN_FILES = "open_files"
    CONNECTIONS = "connections"
    ADDRESS = "connections_of_address"
    FAILED_TOKENS = "failed_tokens_of_address"
    OPERATORS_CONNECTIONS = "metrics_connections"
    OPERATORS_TOKENS = "failed_admin_tokens"
    STREAMS = "streams_bound"
    STREAM_NAMES = "stream_names"
    MESSAGES = "messages"
    REFUSED_KEYS = "routing_keys_refused"


_EVENTS: Final = {Limit.REFUSED_KEYS: "broker refuses routing keys; their events are not received"}
"""Log events of limits that are not logged as `limit reached`."""


_limits: Final = Throttle()
_lines: Final = Throttle(LINES_A_MINUTE)


def reached(limit: Limit, times: int = 1, **seen: Any) -> None:
    """Count that a limit was reached, and log it once a minute.

    Args:
        times: number of times.
        seen: fields of the log line. They must not contain tokens.
    """
    count(limit, times)
    left_out = _limits.left_out(limit, time.monotonic(), LOG_SECONDS)
    if left_out is not None:
        log.warning(_EVENTS.get(limit, "limit reached"), limit=limit.value, **seen, **_more(left_out))


def count(limit: Limit, times: int = 1) -> None:
    """Count that a limit was reached, without a log line."""
    metrics.limits_reached.labels(limit.value).inc(times)


def report(logger: Any, error: PeatioWsError, **fields: Any) -> None:
    """Log an error that a client caused, with the event and level of the error; see `log_line`."""
    if error.level is not None:
        log_line(logger, error.event, error.level, **fields)


def log_line(logger: Any, event: str, level: str = "info", **fields: Any) -> None:
    """Log an event that a client caused, up to `LINES_A_MINUTE` times a minute."""
    left_out = _lines.left_out(event, time.monotonic(), LOG_SECONDS)
    if left_out is not None:
        getattr(logger, level)(event, **fields, **_more(left_out))


def _more(left_out: int) -> dict[str, int]:
    return {"left_out": left_out} if left_out else {}
