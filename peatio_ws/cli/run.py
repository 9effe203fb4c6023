"""`run`: starts the gateway, with a simulated exchange if no broker is named."""

from __future__ import annotations

import filecmp
import importlib.machinery
import importlib.util
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from peatio_ws.cli.key_files import KEY_FILE, make_token, own_public_key
from peatio_ws.config.settings import Settings
from peatio_ws.config.urls import EMBEDDED_BROKER
from peatio_ws.errors import ConfigurationError
from peatio_ws.monitoring import metrics_folder
from peatio_ws.server import listen_addresses
from peatio_ws.simulator import publications, simulation

CONFIG = Path(__file__).parents[1] / "server" / "gunicorn.conf.py"
"""gunicorn's settings. The file is a link to the one in the project's root, so that it is installed too."""


OWN_CONFIG = Path("gunicorn.conf.py")
"""The file that gunicorn alone would read in the current folder."""

GATEWAY = "peatio_ws.wsgi"
"""What is served without an application."""


@click.command()
@click.argument("app", default=GATEWAY, metavar="[APP]")
@click.option(
    "--folder", default=KEY_FILE.parent, show_default=True, type=click.Path(path_type=Path), help="For the key pair."
)
@click.option(
    "--no-simulation",
    is_flag=True,
    help="End with an error if neither AMQP_URL nor RABBITMQ_HOST is set; for production.",
)
def run(app: str, folder: Path, no_simulation: bool) -> None:
    """Serve on 0.0.0.0:8080, with a simulated exchange unless AMQP_URL or RABBITMQ_HOST names a real broker.

    Works in any folder. In the folder of the project it equals `gunicorn wsgi` with a complete environment.
    WEBSOCKET_PORT and the other variables apply; GUNICORN_CMD_ARGS holds gunicorn's options. APP is your own
    application, served together with the gateway, as MODULE or MODULE:NAME.
    """
    _require_module(app)
    environ = dict(os.environ)
    simulated, key = not (environ.get("AMQP_URL") or environ.get("RABBITMQ_HOST")), None
    if simulated and no_simulation:
        text = "neither AMQP_URL nor RABBITMQ_HOST is set; is the file with the variables missing?"
        raise click.ClickException(f"the gateway cannot start: {text}")
    if simulated:
        environ |= {"AMQP_URL": EMBEDDED_BROKER, "WEBSOCKET_SIMULATION": "true"}
        if not any(environ.get(f"JWT_{name}") for name in ("PUBLIC_KEY", "PUBLIC_KEYS", "JWKS_URL", "JWKS_FILE")):
            key = folder / KEY_FILE.name
            environ |= {"JWT_ALGORITHM": "RS256", "JWT_PUBLIC_KEY": own_public_key(key)}
    try:
        settings = Settings.from_env(environ, at_start=True)
        listen_addresses.check_addresses(settings, listen_addresses.inherits_socket(environ))
        if not environ.get(metrics_folder.VARIABLE):
            metrics_folder.check(environ)
    except ConfigurationError as error:
        raise click.ClickException("\n  ".join(["the gateway cannot start:", *map(str, error.faults)])) from None
    if OWN_CONFIG.is_file() and not filecmp.cmp(OWN_CONFIG, CONFIG, shallow=False):
        text = f"{OWN_CONFIG} in this folder is not used: the gateway has its own. To keep your hooks: docs/legacy.md"
        click.echo(f"Warning: {text}", err=True)
    if simulated:
        _print_welcome(settings, key, app)
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", "gunicorn", "--config", str(CONFIG), app], environ)


def _require_module(app: str) -> None:
    """Raise ClickException if gunicorn could not find APP: it would end with a traceback. Imports nothing."""
    module = app.partition(":")[0]
    if os.environ.get("GUNICORN_CMD_ARGS"):
        return  # they may name another folder
    package = module.partition(".")[0]
    here = importlib.machinery.PathFinder.find_spec(package, [os.getcwd()])  # gunicorn looks here first
    if module.endswith(".py") or not package or not (here or importlib.util.find_spec(package)):
        text = f"{app}: no such module here; APP is MODULE or MODULE:NAME, for example `handlers` for handlers.py"
        raise click.ClickException(text)


def _print_welcome(settings: Settings, key: Path | None, app: str) -> None:
    """Print what to try next. `key`: the private key made here; None if the caller configured a public key."""
    own = [] if app == GATEWAY else [app]
    if settings.unix:
        click.echo(f"\nA Peatio WebSocket gateway with a simulated exchange, for a proxy, at {settings.unix}\n")
        return
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    address = f"[{host}]" if ":" in host else host
    place = f"{'s' if settings.ssl_cert else ''}://{address}:{settings.port}/"
    url = f"ws{place}"
    claims: dict[str, Any] = {"audience": ",".join(settings.jwt_audience) or None, "issuer": settings.jwt_issuer}
    member: dict[str, Any] = {"uid": simulation.MEMBER, "member_id": simulation.MEMBER_ID}
    click.echo(f"\nA Peatio WebSocket gateway with a simulated exchange, at {url}\n")
    if own:
        click.echo(f"  Your application:\n    http{place}\n")
        click.echo(f"  The console is {_console_with_application(settings)}.\n")
    elif settings.console is not False:
        click.echo(f"  Open it in a browser, and trade:\n    http{place}\n")
    click.echo(f"  See the orders and trades of the member {simulation.MEMBER} live, in another terminal:")
    click.echo(f"    {_listen_command(url, settings, claims, key)}\n")
    click.echo("  See the order book and the market's trades (public):")
    streams = [f"{publications.MARKET}.ob-inc", f"{publications.MARKET}.trades", "global.tickers"]
    click.echo(f"    {_command('listen', f'{url}public', *(f'--stream={name}' for name in streams))}\n")
    if key is not None:
        bearer = make_token(
            **member, **claims, role="member", claims={}, expires=86_400, key=str(key), algorithm="RS256"
        )
        click.echo("  Or use any client; after the challenge, send (valid for a day):")
        click.echo(f'    {{"jwt":"Bearer {bearer}"}}\n')
    click.echo("  With a real Peatio:")
    click.echo("    AMQP_URL=amqp://user:password@host:5672/vhost JWT_PUBLIC_KEY=<Barong's public key> \\")
    click.echo(f"      {shlex.join([sys.executable, '-m', 'peatio_ws', 'run', *own])}\n")
    click.echo("  Ctrl-C ends it.\n")


def _console_with_application(settings: Settings) -> str:
    """Return where the console is. Whether the application has pages is not known before it is loaded."""
    place = "at / if your application answers 404 there"
    if settings.console is None:
        return f"off if your application serves pages; WEBSOCKET_CONSOLE=true serves it\n  {place}"
    return place if settings.console else "off (WEBSOCKET_CONSOLE=false)"


def _listen_command(url: str, settings: Settings, claims: Mapping[str, str | None], key: Path | None) -> str:
    words = ["listen", url, "--member-id", str(simulation.MEMBER_ID)]
    words += [word for name, value in claims.items() if value for word in (f"--{name}", value)]
    if key not in (None, KEY_FILE):
        words += ["--key", str(key)]
    command = _command(*words)
    if key:
        return command
    file = "<file with the secret>" if settings.jwt_algorithm == "HS256" else "<its private key>"
    return f"{command} --algorithm {settings.jwt_algorithm} --key {file}"


def _command(*words: str) -> str:
    """Return a command that works from any folder, although the package and the key are in the current one."""
    return f"cd {shlex.quote(os.getcwd())} && {shlex.join([sys.executable, '-m', 'peatio_ws', *words])}"
