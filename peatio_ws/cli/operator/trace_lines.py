"""The lines of a trace as text for people: when, where, which connection, what. Knows nothing of Redis."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final

import click

from peatio_ws.cli.json_colors import colored
from peatio_ws.cli.operator.operator_command import counted

_COLORS: Final = {
    "opened": "green",
    "connection": "green",
    "authenticated": "green",
    "subscribed": "cyan",
    "unsubscribed": "cyan",
    "refused": "red",
    "closed": "red",
    "omitted": "yellow",
    "waiting": "yellow",
    "worker": "yellow",
}
_WIDTH: Final = max(map(len, ("authenticated", "unsubscribed")))
_FIRST: Final = {"kind", "at", "gateway", "worker", "connection", "body", "cut"}
"""Fields that have their own place."""
_NOT_PRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def shown(line: dict[str, Any], terminal: bool) -> str | None:
    """Return a line of a trace as text; None for one that people need not see.

    Args:
        terminal: with colours, and a short local time.
    """
    kind = line["kind"]
    if kind in ("alive", "end"):
        return None
    if kind == "begin":
        return _styled(_begin(line["seconds"], **line["received_by"]), terminal, dim=True)
    at = line["at"]
    if terminal:
        at = datetime.fromisoformat(at).astimezone().strftime("%H:%M:%S.%f")[:-3]
    where = f"{line['gateway']}/{line['worker']} {line.get('connection', '-')}"
    head = _styled(f"{at} {where}", terminal, dim=True), _styled(kind.ljust(_WIDTH), terminal, fg=_COLORS.get(kind))
    return " ".join(filter(None, (*head, _printable(_fields(line)), _body(line, terminal))))


def _begin(seconds: float, workers: int, gateways: int, silent: int) -> str:
    text = f"tracing for {seconds:g} s on {counted(workers, 'worker')} of {counted(gateways, 'gateway')}"
    return f"{text}; {silent} did not answer" if silent else text


def _fields(line: dict[str, Any]) -> str:
    """Return the other fields as `name=value`."""
    return " ".join(f"{name}={_value(value)}" for name, value in line.items() if name not in _FIRST)


def _value(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ",".join(map(str, value)) or "-"
    text = str(value)
    return f'"{text}"' if " " in text or not text else text


def _body(line: dict[str, Any], terminal: bool) -> str:
    body = line.get("body")
    if body is None:
        return ""
    whole = _printable(body)
    return (colored(whole) if terminal else whole) + (" …" if line.get("cut") else "")


def _printable(text: str) -> str:
    """Return a text on one line, without characters that control a terminal: a client may have chosen it."""
    return _NOT_PRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _styled(text: str, terminal: bool, **style: Any) -> str:
    return click.style(text, **style) if terminal else text
