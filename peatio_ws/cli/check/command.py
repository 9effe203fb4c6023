"""`check`: prints the findings of `runner.py`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import click

from peatio_ws.cli.check import runner
from peatio_ws.cli.check.report import Finding
from peatio_ws.cli.tables import printable


@click.command()
@click.option("--token", "given", metavar="TOKEN", envvar="JWT", help="Also verify this token. [JWT]")
@click.option("--json", "as_json", is_flag=True, help="Print each item as a line of JSON.")
def check(given: str | None, as_json: bool) -> None:
    """Try everything the gateway needs: settings, broker, Redis, keys, ports, open files.

    Run it where the gateway will run. It reads the environment as `gunicorn wsgi` does, starts nothing and leaves
    nothing behind. For each item it prints whether it is fine; if not, what is wrong and what to do. It verifies a
    token like a client's. If the token is refused, it prints the claim at fault, which a client never learns.

    \b
    Status: 0 all is well; 1 something is wrong.
    """
    wrong = 0
    for finding in _with_progress(runner.run_checks(os.environ, given)):
        wrong += finding.ok is False
        # They may contain claims of a token, and texts of a server.
        finding = replace(finding, text=printable(finding.text), remedy=printable(finding.remedy))
        if as_json:
            click.echo(json.dumps(_as_json(finding), ensure_ascii=False))
        else:
            _print(finding)
    if not as_json:
        click.echo(f"\n{'all is well' if not wrong else f'wrong: {wrong}'}")
    sys.exit(1 if wrong else 0)


def _with_progress(found: Iterator[Finding]) -> Iterator[Finding]:
    """Yield findings; show on a terminal that the next one is awaited."""
    terminal = sys.stderr.isatty()
    while True:
        if terminal:
            click.echo("checking …", err=True, nl=False)
        finding = next(found, None)
        if terminal:
            click.echo("\r\x1b[K", err=True, nl=False)
        if finding is None:
            return
        yield finding


def _print(finding: Finding) -> None:
    mark = click.style(f"{finding.mark:5}", fg={"ok": "green", "WRONG": "red"}.get(finding.mark))
    click.echo(f"{mark}  {finding.what:29}  {finding.text}")
    if finding.remedy:
        click.echo(f"{'':5}  {'':29}  -> {finding.remedy}")


def _as_json(finding: Finding) -> dict[str, Any]:
    code = finding.code.value if finding.code is not None else None
    return {"what": finding.what, "ok": finding.ok, "text": finding.text, "remedy": finding.remedy, "code": code}
