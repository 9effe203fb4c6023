"""The command line: `python -m peatio_ws …`. Each command is a few lines over the package's other rooms."""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import itertools
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import click

from peatio_ws import announcing, checking, cli_steering, keys, ports, publishing, simulation
from peatio_ws.errors import ConfigurationError
from peatio_ws.events import ORDERBOOK, RANGER, TRADE
from peatio_ws.listening import ENOUGH, Visit, look_on, readable
from peatio_ws.publisher import Publisher
from peatio_ws.settings import Settings
from peatio_ws.tokens import KEY_FILE, make_token, own_public_key, there_is_a_key, write_private
from peatio_ws.urls import EMBEDDED_BROKER

CONFIG = Path(__file__).with_name("gunicorn.conf.py")
"""gunicorn's settings; the file is a link to the one of the project's folder, so that it is installed too."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Tools around the Peatio WebSocket gateway. Where it is not installed, peatio-ws is `python -m peatio_ws`.

    \b
    A first round, on one machine:
      peatio-ws run                            the gateway with a simulated exchange, on port 8080, and a console
      peatio-ws listen                         connects to it, authenticates, prints what comes
      peatio-ws listen --stream btcusd.trades  the same for a public stream
    Against a real broker:
      peatio-ws keygen                         a key pair; give the printed JWT_PUBLIC_KEY to the gateway
      peatio-ws listen --uid ID1234567890      one member's orders and trades
      peatio-ws publish order --uid ID1234567890
      peatio-ws publish --file FILE            replays a file of messages
    The gateway itself is started with `gunicorn wsgi`, or, in any folder, peatio-ws run; before that,
      peatio-ws check                          tries all it needs, and says what to do
    While it runs,
      peatio-ws who                            shows which members are online
      peatio-ws disconnect UID --revoke        ends their sessions; notice and drain steer it too
    """


for _command_of_others in cli_steering.COMMANDS:
    main.add_command(_command_of_others)


# ---- keys and tokens


@main.command()
@click.option("--algorithm", default="RS256", show_default=True, type=click.Choice(keys.ALGORITHMS[:-1]))
@click.option(
    "--directory", default=KEY_FILE.parent, show_default=True, type=click.Path(path_type=Path), help="Where to."
)
@click.option("--force", is_flag=True, help="Write over a key that is there.")
def keygen(algorithm: str, directory: Path, force: bool) -> None:
    """Make a key pair for trying things out: DIRECTORY/private.pem, and JWT_PUBLIC_KEY on standard output.

    On a real exchange Barong holds the private key, and the gateway gets its public half only.
    """
    path = directory / KEY_FILE.name
    if path.exists() and not force:
        raise click.ClickException(f"{path} is there already; --force writes over it")
    key = keys.new_private_key(algorithm)
    try:
        write_private(path, key)
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}; --directory takes another folder") from None
    click.echo(f"written: {path} (keep it to yourself)", err=True)
    click.echo(f"JWT_ALGORITHM={algorithm}")
    click.echo(f"JWT_PUBLIC_KEY={keys.public_text(key)}")


def _claim(_context: Any, _parameter: Any, values: tuple[str, ...]) -> dict[str, Any]:
    claims = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals:
            raise click.BadParameter(f"{value}: write NAME=VALUE")
        try:
            claims[name] = json.loads(text)
        except ValueError:
            claims[name] = text
    return claims


def token_options(command: Any) -> Any:
    """What every command that makes a token takes."""
    for option in reversed(
        [
            click.option("--uid", default=simulation.MEMBER, show_default=True, help="Whom the token is for."),
            click.option("--member-id", type=int, help="Peatio's numeric id, as claim member_id."),
            click.option("--role", default="member", show_default=True),
            click.option("--expires", default=3600, show_default=True, metavar="SECONDS", help="From now."),
            click.option("--audience", envvar="JWT_AUDIENCE", help="Claim aud; commas between several. [JWT_AUDIENCE]"),
            click.option("--issuer", envvar="JWT_ISSUER", help="Claim iss. [JWT_ISSUER]"),
            click.option(
                "--claim",
                "claims",
                multiple=True,
                callback=_claim,
                metavar="NAME=VALUE",
                help="Any claim; JSON or text.",
            ),
            click.option(
                "--key", metavar="FILE", help="Private key. [JWT_PRIVATE_KEY as PEM or base64; .run/private.pem]"
            ),
            click.option(
                "--algorithm",
                default="RS256",
                show_default=True,
                envvar="JWT_ALGORITHM",
                type=click.Choice(keys.ALGORITHMS[:-1]),
            ),
        ]
    ):
        command = option(command)
    return command


@main.command()
@token_options
def token(**options: Any) -> None:
    """Print a session token, as Barong would make it.

    \b
    Paste it into a client:  {"jwt":"Bearer <token>"}
    """
    click.echo(make_token(**options))


# ---- the broker


@main.group(invoke_without_command=True)
@click.option(
    "--file",
    "path",
    metavar="FILE",
    type=click.Path(exists=True, allow_dash=True, dir_okay=False),
    help="Replay these messages instead; - is standard input.",
)
@click.option(
    "--rate", metavar="N", type=click.FloatRange(min=0, min_open=True), help="Messages a second. [as fast as it goes]"
)
@click.option(
    "--repeat", metavar="N", default=1, show_default=True, type=click.IntRange(min=0), help="Times; 0 until Ctrl-C."
)
@click.pass_context
def publish(context: click.Context, path: str | None, rate: float | None, repeat: int) -> None:
    """Publish one message to the broker, as Peatio does, or replay a file of them.

    Broker: AMQP_URL, or RABBITMQ_HOST, RABBITMQ_PORT, RABBITMQ_USER, RABBITMQ_PASSWORD, RABBITMQ_VHOST.

    \b
    A file has a message for peatio.events.ranger on each line, routing key and JSON, as for Rango's inject-msg:
      public.btcusd.trades {"trades":[{"tid":7,"taker_type":"buy","price":"9120.5","amount":"0.1"}]}
      # a comment; the next one is sent byte for byte
      private.ID1234567890.order {"id": 22, "price": 9120.50}

    It is checked before anything is published; a pipe line by line. When the command ends with status 0, the broker has
    confirmed all of it.
    """
    if context.invoked_subcommand is not None:
        if path is not None:
            raise click.UsageError(f"a file of messages, or one {context.invoked_subcommand}: not both")
    elif path is None:
        raise click.UsageError("either a command, for one message, or --file FILE, for many")
    else:
        with click.open_file(path, "rb") as file:
            _replay(file, rate, repeat)


def _replay(file: IO[bytes], rate: float | None, repeat: int) -> None:
    start = file.tell() if file.seekable() else None
    if start is not None:
        try:
            if not sum(1 for _ in publishing.messages(file)):
                raise click.ClickException("there is no message in it")
        except ValueError as fault:
            raise click.ClickException(str(fault)) from None
    elif repeat != 1:
        raise click.UsageError("--repeat needs a file that can be read again; this one cannot")

    def source() -> Iterator[publishing.Message]:
        for _ in range(repeat) if repeat else itertools.count():
            if start is not None:
                file.seek(start)
            yield from publishing.messages(file)

    publisher, progress = None, _Progress()
    try:
        with _publisher() as publisher:
            publishing.replay(publisher, source(), rate, progress.show)
    except KeyboardInterrupt:
        if repeat:
            raise
    finally:
        if publisher is not None:
            progress.end(publisher.confirmed)


class _Progress:
    """How far a replay is, for who looks on; where nobody does, only what came of it. On standard error."""

    def __init__(self) -> None:
        self._began, self._shown, self._terminal = time.monotonic(), 0.0, sys.stderr.isatty()

    def show(self, count: int) -> None:
        now = time.monotonic()
        if self._terminal and now - self._shown > 0.2:
            self._shown = now
            click.echo(f"\r\x1b[K{self._say(count)}", err=True, nl=False)

    def end(self, count: int) -> None:
        line_start = "\r\x1b[K" if self._terminal else ""
        click.echo(f"{line_start}published {self._say(count)} to {RANGER}", err=True)

    def _say(self, count: int) -> str:
        seconds = max(time.monotonic() - self._began, 0.001)
        return f"{count} messages in {seconds:.1f} s ({count / seconds:.0f} a second)"


def _decimal(_context: Any, _parameter: Any, value: str) -> Decimal:
    try:
        return Decimal(value)
    except ArithmeticError:
        raise click.BadParameter(f"{value} is no number") from None


def _body(path: str | None, sample: dict[str, Any]) -> bytes:
    """What to publish: a file's content byte for byte, `-` being standard input, or the sample."""
    if path is None:
        return json.dumps(sample).encode()
    return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()


_file = click.option(
    "--file",
    "path",
    metavar="FILE",
    type=click.Path(exists=True, allow_dash=True, dir_okay=False),
    help="Body instead of the sample; - is standard input.",
)


@publish.command()
@click.option("--uid", required=True, help="The owner.")
@click.option("--side", default="buy", show_default=True, type=click.Choice(["buy", "sell"]))
@click.option("--price", default="9120.5", show_default=True, callback=_decimal)
@click.option("--volume", default="1.5", show_default=True, callback=_decimal)
@click.option("--market", default="btcusd", show_default=True)
@_file
def order(uid: str, side: str, price: Decimal, volume: Decimal, market: str, path: str | None) -> None:
    """An order, to peatio.orderbook."""
    sample = {
        "id": int(time.time() * 1000),
        "side": side,
        "ord_type": "limit",
        "price": str(price),
        "avg_price": "0.0",
        "state": "wait",
        "market_id": market,
        "created_at": _now(),
        "origin_volume": str(volume),
        "volume": str(volume),
        "trades_count": 0,
        "trades": [],
    }
    _publish(ORDERBOOK, "", {"uid": uid}, _body(path, sample))


@publish.command()
@click.option("--ask-uid", required=True, help="Who sold.")
@click.option("--bid-uid", required=True, help="Who bought.")
@click.option("--price", default="9120.5", show_default=True, callback=_decimal)
@click.option("--volume", default="0.5", show_default=True, callback=_decimal)
@click.option("--market", default="btcusd", show_default=True)
@_file
def trade(ask_uid: str, bid_uid: str, price: Decimal, volume: Decimal, market: str, path: str | None) -> None:
    """A trade between two members, to peatio.trade."""
    number = int(time.time() * 1000)
    sample = {
        "id": number,
        "price": str(price),
        "volume": str(volume),
        "funds": f"{price * volume:f}",
        "market_id": market,
        "created_at": _now(),
        "ask_id": number + 1,
        "bid_id": number + 2,
    }
    _publish(TRADE, "", {"market": market, "ask_uid": ask_uid, "bid_uid": bid_uid}, _body(path, sample))


@publish.command()
@click.argument("routing_key")
@click.argument("body", required=False)
@_file
def event(routing_key: str, body: str | None, path: str | None) -> None:
    """An event, to peatio.events.ranger: private.UID.EVENT, public.MARKET.EVENT, global.EVENT or PREFIX.ID.EVENT.

    \b
      peatio-ws publish event private.ID1234567890.order '{"id":1,"side":"buy"}'
    """
    _publish(RANGER, routing_key, {}, body.encode() if body is not None else _body(path, {}))


def _publish(name: str, routing_key: str, headers: dict[str, Any], body: bytes) -> None:
    try:
        publishing.check(name, routing_key, headers, body)
    except ValueError as fault:
        raise click.ClickException(f"not published: {fault}") from None
    with _publisher() as publisher:
        publisher.publish(name, routing_key, headers, body)
    click.echo(f"published {len(body)} bytes to {name}{' ' + routing_key if routing_key else ''}", err=True)


@contextlib.contextmanager
def _publisher() -> Iterator[Publisher]:
    """A connection to the broker that the environment names; ClickException for what is wrong with it."""
    try:
        settings = publishing.broker(os.environ)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None
    if settings.embedded:
        raise click.ClickException("the in-process broker of `run` cannot be reached from here; set AMQP_URL")
    publisher = Publisher(";".join(settings.amqp_urls), settings.amqp_durable)
    try:
        with publisher:
            yield publisher
    except OSError as error:  # before ValueError, which a certificate that is refused is, too
        raise click.ClickException(publisher.explain(error)) from None
    except ValueError as fault:  # a bad line of what is replayed
        raise click.ClickException(str(fault)) from None
    except Exception as error:
        raise click.ClickException(publisher.explain(error)) from None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


# ---- a client


@main.command()
@click.argument("url", default="ws://127.0.0.1:8080/")
@click.option("--stream", "streams", multiple=True, metavar="NAME", help="Subscribe to it; any number of times.")
@click.option("--token", "given", metavar="TOKEN", envvar="JWT", help="Use this token instead of making one. [JWT]")
@click.option("--jwt", "by_message", is_flag=True, help="Show the token in a message even where streams are named.")
@click.option("--count", type=int, help="End after so many events.")
@click.option("--seconds", type=float, help="End after so many seconds.")
@token_options
def listen(
    url: str,
    streams: tuple[str, ...],
    given: str | None,
    by_message: bool,
    count: int | None,
    seconds: float | None,
    **options: Any,
) -> None:
    """Connect to URL, and print every frame: over several lines on a terminal, a line of JSON each in a pipe. Numbers
    and texts are shown as they came.

    Without streams it authenticates, and gets its member's orders and trades. With --stream, or a URL of Ranger's
    (…/public, …/private, …?stream=NAME), it subscribes; a token is made and shown, in the Authorization header, for
    private streams (no dot in the name), prefixed ones (two dots) and …/private only.

    \b
      peatio-ws listen --stream btcusd.trades --stream btcusd.ob-inc
      peatio-ws listen ws://127.0.0.1:8080/private --stream order --uid ID1234567890

    \b
    Status: 0 ended by --count, --seconds or Ctrl-C; 1 no connection, or no answer; 3 not authenticated, or
    not let into a stream; 4 closed by the gateway.
    """
    visit = Visit(url, streams, by_message=by_message, count=count, seconds=seconds)
    end = look_on(visit.with_token(_bearer(visit, given, options)), _print)
    if end.why:
        click.echo(end.why, err=True)
    sys.exit(end.status)


def _bearer(visit: Visit, given: str | None, options: dict[str, Any]) -> str | None:
    """The token to come with, if there is anything to see that is not for everybody."""
    if not visit.needs_token:
        return None
    if given:
        return given
    if visit.speaks_ranger and not visit.by_message and not there_is_a_key(options["key"]):
        click.echo("without a token: there is no private key to make one with", err=True)
        return None
    return make_token(**options)


def _print(frame: str) -> None:
    if not sys.stdout.isatty():
        try:
            print(frame, flush=True)
        except BrokenPipeError:  # who reads the pipe has seen enough, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its end
            sys.exit(ENOUGH)
        return
    click.echo(click.style(datetime.now().astimezone().strftime("%H:%M:%S.%f")[:-3], dim=True) + " " + readable(frame))


# ---- before the gateway is started


@main.command()
@click.option("--token", "given", metavar="TOKEN", envvar="JWT", help="Verify this one as well. [JWT]")
def check(given: str | None) -> None:
    """Try all that the gateway needs: settings, broker, Redis, keys, ports, open files.

    Run it where the gateway will run. It reads the environment as `gunicorn wsgi` does, starts nothing and leaves
    nothing behind. Of each thing it tells whether it is fine, and if not, what is wrong and what to do. A token is
    verified as a client's would be; where it is refused, what of it is to blame is told, but never to a client.

    \b
    Status: 0 all is well; 1 something is not.
    """
    wrong = 0
    terminal = sys.stderr.isatty()
    colors = {"ok": "green", "WRONG": "red"}
    found = checking.check(os.environ, given)
    while True:
        if terminal:
            click.echo("looking …", err=True, nl=False)
        finding = next(found, None)
        if terminal:
            click.echo("\r\x1b[K", err=True, nl=False)
        if finding is None:
            break
        wrong += finding.well is False
        mark = click.style(f"{finding.mark:5}", fg=colors.get(finding.mark))
        click.echo(f"{mark}  {finding.what:29}  {finding.text}")
        if finding.remedy:
            click.echo(f"{'':5}  {'':29}  -> {finding.remedy}")
    click.echo(f"\n{'all is well' if not wrong else f'wrong: {wrong}'}")
    sys.exit(1 if wrong else 0)


# ---- the two commands' first


@main.command()
@click.argument("app", default="peatio_ws.wsgi", metavar="[APP]")
@click.option(
    "--folder", default=KEY_FILE.parent, show_default=True, type=click.Path(path_type=Path), help="For the key pair."
)
def run(app: str, folder: Path) -> None:
    """Serve on 0.0.0.0:8080, with a simulated exchange unless AMQP_URL or RABBITMQ_HOST names a real one.

    Works in any folder. In the project's own it is the same as `gunicorn wsgi` with the environment filled in;
    WEBSOCKET_PORT and the other variables work as there, and gunicorn's options are in GUNICORN_CMD_ARGS. APP is an
    application of your own instead of the gateway alone, as MODULE or MODULE:NAME.
    """
    _require_module(app)
    environ = dict(os.environ)
    simulated, key = not (environ.get("AMQP_URL") or environ.get("RABBITMQ_HOST")), None
    if simulated:
        environ |= {"AMQP_URL": EMBEDDED_BROKER, "WEBSOCKET_SIMULATION": "true"}
        if not any(environ.get(f"JWT_{name}") for name in ("PUBLIC_KEY", "PUBLIC_KEYS", "JWKS_URL", "JWKS_FILE")):
            key = folder / KEY_FILE.name
            environ |= {"JWT_ALGORITHM": "RS256", "JWT_PUBLIC_KEY": own_public_key(key)}
    try:
        settings = Settings.from_env(environ, at_start=True)
        ports.check(settings)
    except ConfigurationError as error:
        raise click.ClickException("\n  ".join(["this cannot be served:", *map(str, error.faults)])) from None
    if simulated:
        _greet(settings, key)
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", "gunicorn", "--config", str(CONFIG), app], environ)


def _require_module(app: str) -> None:
    """ClickException for an APP that gunicorn could not find: it would end with a traceback. Imports nothing."""
    module = app.partition(":")[0]
    if os.environ.get("GUNICORN_CMD_ARGS"):
        return  # they may name another folder
    package = module.partition(".")[0]
    here = importlib.machinery.PathFinder.find_spec(package, [os.getcwd()])  # gunicorn looks here first
    if module.endswith(".py") or not package or not (here or importlib.util.find_spec(package)):
        text = f"{app}: there is no such module here; APP is MODULE or MODULE:NAME, as `handlers` for handlers.py"
        raise click.ClickException(text)


def _greet(settings: Settings, key: Path | None) -> None:
    """Tell what to do next. `key`: the private key made here; None where the caller brought a public one."""
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
    if settings.console is not False:
        click.echo("  Open it in a browser, and trade:")
        click.echo(f"    http{place}\n")
    click.echo("  See orders and trades move, in another terminal:")
    click.echo(f"    {_listen_command(url, settings, claims, key)}\n")
    click.echo("  See the book move, and the market's trades (these are for everybody):")
    streams = [f"{announcing.MARKET}.ob-inc", f"{announcing.MARKET}.trades", "global.tickers"]
    click.echo(f"    {_command('listen', f'{url}public', *(f'--stream={name}' for name in streams))}\n")
    if key is not None:
        bearer = make_token(
            **member, **claims, role="member", claims={}, expires=86_400, key=str(key), algorithm="RS256"
        )
        click.echo("  Or with any client; after the challenge send (good for a day):")
        click.echo(f'    {{"jwt":"Bearer {bearer}"}}\n')
    click.echo("  With a real Peatio:")
    click.echo("    AMQP_URL=amqp://user:password@host:5672/vhost JWT_PUBLIC_KEY=<Barong's public key> \\")
    click.echo(f"      {shlex.join([sys.executable, '-m', 'peatio_ws', 'run'])}\n")
    click.echo("  Ctrl-C ends it.\n")


def _listen_command(url: str, settings: Settings, claims: Mapping[str, str | None], key: Path | None) -> str:
    words = ["listen", url, "--member-id", str(simulation.MEMBER_ID)]
    words += [word for name, value in claims.items() if value for word in (f"--{name}", value)]
    if key not in (None, KEY_FILE):
        words += ["--key", str(key)]
    command = _command(*words)
    return command if key else f"{command} --algorithm {settings.jwt_algorithm} --key <its private key>"


def _command(*words: str) -> str:
    """Works from any folder: the package is not installed but lies here, and so does the key."""
    return f"cd {shlex.quote(os.getcwd())} && {shlex.join([sys.executable, '-m', 'peatio_ws', *words])}"
