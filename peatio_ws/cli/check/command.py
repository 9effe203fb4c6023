"""`check`: prints the findings of `runner.py`."""

from __future__ import annotations

import os
import sys

import click

from peatio_ws.cli.check import runner


@click.command()
@click.option("--token", "given", metavar="TOKEN", envvar="JWT", help="Also verify this token. [JWT]")
def check(given: str | None) -> None:
    """Try everything the gateway needs: settings, broker, Redis, keys, ports, open files.

    Run it where the gateway will run. It reads the environment as `gunicorn wsgi` does, starts nothing and leaves
    nothing behind. For each item it prints whether it is fine; if not, what is wrong and what to do. It verifies a
    token like a client's. If the token is refused, it prints the claim at fault, which a client never learns.

    \b
    Status: 0 all is well; 1 something is wrong.
    """
    wrong = 0
    terminal = sys.stderr.isatty()
    colors = {"ok": "green", "WRONG": "red"}
    found = runner.run_checks(os.environ, given)
    while True:
        if terminal:
            click.echo("checking …", err=True, nl=False)
        finding = next(found, None)
        if terminal:
            click.echo("\r\x1b[K", err=True, nl=False)
        if finding is None:
            break
        wrong += finding.ok is False
        mark = click.style(f"{finding.mark:5}", fg=colors.get(finding.mark))
        click.echo(f"{mark}  {finding.what:29}  {finding.text}")
        if finding.remedy:
            click.echo(f"{'':5}  {'':29}  -> {finding.remedy}")
    click.echo(f"\n{'all is well' if not wrong else f'wrong: {wrong}'}")
    sys.exit(1 if wrong else 0)
