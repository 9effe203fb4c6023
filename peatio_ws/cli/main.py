"""The command line: `python -m peatio_ws …`. Each command has its own file in this folder.

A new command: a file with its function, and its name in the table below.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from peatio_ws.cli import env_file
from peatio_ws.version import VERSION

COMMANDS: Final[Mapping[str, Mapping[str, str]]] = {
    "Start a gateway": {"run": "run", "check": "check.command", "settings": "settings"},
    "Control running gateways": {
        "gateways": "operator.gateways",
        "who": "operator.who",
        "trace": "operator.trace",
        "disconnect": "operator.disconnect",
        "revocations": "operator.revocations",
        "notice": "operator.notice",
        "drain": "operator.drain",
    },
    "Try a gateway": {"listen": "listen", "publish": "publish", "token": "token", "keygen": "keygen"},
}
"""All commands and their modules, under the headings of `--help`. A function has the name of its command."""
_MODULES: Final = {name: module for modules in COMMANDS.values() for name, module in modules.items()}


class _Commands(click.Group):
    """The commands under headings, in the order of the table.

    A command's module is imported when it is needed: the gateway's libraries take most of the time of a short command.
    """

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(_MODULES)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in self.commands and name in _MODULES:
            self.add_command(getattr(importlib.import_module(f"peatio_ws.cli.{_MODULES[name]}"), name))
        return super().get_command(context, name)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        for title, modules in COMMANDS.items():
            commands = [(name, self.get_command(context, name)) for name in modules]
            with formatter.section(title):
                limit = formatter.width - 20
                formatter.write_dl([(name, one.get_short_help_str(limit)) for name, one in commands if one])


def _print_version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    libraries = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("gunicorn", "gevent"))
    click.echo(f"peatio-ws {VERSION} (Python {platform.python_version()}, {libraries})")
    context.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--env-file",
    "path",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Read variables from this file, too (NAME=value); the environment has priority.",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
@click.pass_context
def main(context: click.Context, path: Path | None) -> None:
    """Tools for the Peatio WebSocket gateway. If the package is not installed, type `python -m peatio_ws`.

    \b
    To try it on one machine:
      peatio-ws run                            the gateway with a simulated exchange, on port 8080, and a console
      peatio-ws listen                         connects, authenticates and prints what it receives
      peatio-ws listen --stream btcusd.trades  the same for a public stream
    With a real broker:
      peatio-ws keygen                         a key pair; give the printed JWT_PUBLIC_KEY to the gateway
      peatio-ws listen --uid ID1234567890      orders and trades of one member
      peatio-ws publish order --uid ID1234567890
      peatio-ws publish --file FILE            replays a file of messages
    Start the gateway with `gunicorn wsgi`, or with `peatio-ws run` in any folder. Before that:
      peatio-ws check                          tries everything the gateway needs, and suggests remedies
      peatio-ws settings                       prints the settings in force, and where each comes from
    While it runs:
      peatio-ws who                            shows which members are online
      peatio-ws trace UID                      shows live what a member's connections do
      peatio-ws disconnect UID --revoke        ends their sessions; notice and drain control it too
    """
    if os.environ.get("NO_COLOR"):  # https://no-color.org
        context.color = False
    if path is not None:
        context.obj = env_file.load(path)
