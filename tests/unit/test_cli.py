"""The command line as far as it goes without a broker and a gateway: keys, tokens, help, faults without traceback."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import jwt
import pytest
from click.testing import CliRunner, Result

from peatio_ws import cli, cli_steering, ports, simulation
from peatio_ws.auth import Verifier
from peatio_ws.cli import main
from peatio_ws.keys import ALGORITHMS, load_private_key, private_pem, public_text
from peatio_ws.settings import Settings
from tests.unit.samples import private_key

COMMANDS = ["keygen", "token", "publish", "publish order", "publish trade", "publish event", "listen", "check", "run"]
COMMANDS += ["who", "disconnect", "notice", "drain"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, and none of the gateway's variables."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if re.match("JWT|AMQP_|RABBITMQ_|WEBSOCKET_|RANGER_|REDIS_URL", name):
            monkeypatch.delenv(name)
    return tmp_path


def call(line: str, **environ: str) -> Result:
    return CliRunner().invoke(main, line.split(), env=environ)


def fails(line: str, status: int = 1, **environ: str) -> str:
    """What is said; a fault is one that the user reads, never a traceback."""
    result = call(line, **environ)
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == status, result.output
    assert "Error: " in result.output
    return result.output


def printed(result: Result) -> dict[str, str]:
    """The variables that `keygen` prints."""
    assert result.exit_code == 0, result.output
    return dict(line.split("=", 1) for line in result.stdout.splitlines())


# ---- help


@pytest.mark.parametrize("command", ["", *COMMANDS])
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_explains_itself(command: str, option: str) -> None:
    result = call(f"{command} {option}")
    assert result.exit_code == 0
    assert result.output.startswith("Usage: ")


def test_the_help_names_every_command() -> None:
    shown = call("--help").output
    for command in COMMANDS:
        assert re.search(rf"^  {command.split()[0]}\b", shown, re.MULTILINE)


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "--nonsense",
        "keygen --algorithm HS256",
        "token --expires soon",
        "token --claim name",
        "publish",
        "publish --rate 0 --file -",
        "publish --repeat -1 --file -",
        "publish --file missing",
        "publish --file - order --uid A",
        "publish order",
        "publish trade --ask-uid A",
        "publish event",
        "listen --count many",
        "disconnect",
        "disconnect ID1 --keep 91",
        "notice",
        "drain",
        "drain --host a --all",
    ],
)
def test_wrong_usage_is_told_with_status_2(line: str) -> None:
    assert "Usage: " in fails(line, status=2)


# ---- steering


def test_what_a_client_may_have_chosen_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    cli_steering._table(("ADDRESS", "ID"), [("\x1b[2J\n1", "é")])
    assert capsys.readouterr().out == "ADDRESS  ID\n?[2J?1   é\n"


@pytest.mark.parametrize("line", ["who", "disconnect ID1", "notice hello", "drain --all"])
def test_without_redis_url_a_command_says_in_a_line_what_to_set(line: str) -> None:
    said = fails(line)
    assert said.startswith("Error: REDIS_URL is not set")
    assert said.count("\n") == 1


# ---- keygen


@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name != "HS256"])
def test_a_pair_made_here_is_one_for_the_gateway(algorithm: str, folder: Path) -> None:
    found = Settings.from_env(printed(call(f"keygen --algorithm {algorithm}")))
    private = load_private_key((folder / ".run" / "private.pem").read_text())
    assert found.jwt_algorithm == algorithm
    assert found.jwt_keys == (private.public_key(),)


def test_a_private_key_is_its_owners_only(folder: Path) -> None:
    call("keygen --directory there")
    assert (folder / "there" / "private.pem").stat().st_mode & 0o777 == 0o600


def test_a_private_key_is_not_printed(folder: Path) -> None:
    output = call("keygen").output
    assert not [line for line in (folder / ".run" / "private.pem").read_text().splitlines() if line in output]


def test_a_key_that_is_there_is_written_over_only_by_force(folder: Path) -> None:
    call("keygen")
    path = folder / ".run" / "private.pem"
    before = path.read_text()
    assert "--force" in fails("keygen")
    assert path.read_text() == before
    assert call("keygen --force").exit_code == 0
    assert path.read_text() != before


# ---- token


def claims_of(result: Result) -> dict[str, object]:
    assert result.exit_code == 0, result.output
    claims: dict[str, object] = jwt.decode(result.stdout.strip(), options={"verify_signature": False})
    return claims


@pytest.mark.parametrize("algorithm", ["RS256", "PS512", "ES384", "EdDSA"])
def test_a_token_made_here_lets_its_member_in(algorithm: str) -> None:
    gateway = Settings.from_env(printed(call(f"keygen --algorithm {algorithm}")))
    made = call(f"token --algorithm {algorithm} --uid ID7 --member-id 7 --role admin").stdout.strip()
    identity = Verifier(gateway.token_rules).verify(made, time.time())
    assert (identity.uid, identity.member_id, identity.role) == ("ID7", 7, "admin")


def test_a_token_meets_the_audience_and_issuer_of_the_environment() -> None:
    both = {"JWT_AUDIENCE": "peatio,barong", "JWT_ISSUER": "barong"}
    gateway = Settings.from_env({**printed(call("keygen")), **both})
    made = call("token", **both).stdout.strip()
    assert Verifier(gateway.token_rules).verify(made, time.time()).uid == simulation.MEMBER


def test_any_claim_can_be_given_as_json_or_text() -> None:
    call("keygen")
    shown = claims_of(call("token --claim state=banned --claim level=3 --claim a=b=c --claim list=[1,2] --claim sub=x"))
    assert (shown["state"], shown["level"], shown["a"], shown["list"], shown["sub"]) == (
        "banned",
        3,
        "b=c",
        [1, 2],
        "x",
    )


def test_a_token_ends_as_long_after_its_beginning_as_asked_for() -> None:
    call("keygen")
    shown = claims_of(call("token --expires -60"))
    assert int(str(shown["exp"])) - int(str(shown["iat"])) == -60


def test_the_key_is_a_file_that_was_named_or_the_environments_or_the_one_made_here(folder: Path) -> None:
    for number, name in enumerate(["named", "variable", "made"]):
        (folder / name).write_bytes(private_pem(private_key(number=number)))
    (folder / ".run").mkdir()
    (folder / "made").rename(folder / ".run" / "private.pem")
    variable = (folder / "variable").read_text()
    for line, environ, number in (
        ("token --key named", {"JWT_PRIVATE_KEY": variable}, 0),
        ("token", {"JWT_PRIVATE_KEY": variable}, 1),
        ("token", {}, 2),
    ):
        gateway = Settings.from_env({"JWT_PUBLIC_KEY": public_text(private_key(number=number))})
        assert Verifier(gateway.token_rules).verify(call(line, **environ).stdout.strip(), time.time())


def test_without_a_key_it_is_told_how_to_make_one() -> None:
    assert "keygen" in fails("token")


@pytest.mark.parametrize("content", [b"", b"junk", b"\xff\xfe", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END"])
def test_a_file_that_is_no_key_is_told(folder: Path, content: bytes) -> None:
    (folder / "key").write_bytes(content)
    fails("token --key key")
    fails("token --key .")
    fails("token --key missing")


@pytest.mark.parametrize("algorithm", ["HS256", "none"])
def test_an_algorithm_without_a_key_pair_is_told(algorithm: str) -> None:
    call("keygen")
    told = call(f"token --algorithm {algorithm}")
    assert told.exit_code == 2
    assert algorithm in told.output


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
def test_a_key_that_cannot_sign_with_the_algorithm_is_told(algorithm: str) -> None:
    call("keygen --algorithm RS256")
    assert algorithm in fails(f"token --algorithm {algorithm}")


# ---- publish, run


@pytest.mark.parametrize("line", ["order --uid A", "trade --ask-uid A --bid-uid B", "event global.tickers {}"])
def test_faults_of_the_brokers_url_are_told_without_its_password(line: str) -> None:
    said = fails(f"publish {line}", AMQP_URL="http://user:sesame@host/")
    assert "AMQP_URL" in said
    assert "sesame" not in said
    assert "AMQP_URL" in fails(f"publish {line}", AMQP_URL="memory://")


def test_a_broker_that_is_not_there_is_told_with_all_its_addresses_and_no_password() -> None:
    said = fails("publish order --uid A", AMQP_URL="amqp://a:sesame@127.0.0.1:1/;amqp://b:sesame@127.0.0.1:2/x")
    assert "127.0.0.1:1/ or 127.0.0.1:2/x did not take it" in said
    assert "sesame" not in said


class Broker:
    """Takes what is published and confirms it."""

    taken: ClassVar[list[tuple[object, ...]]] = []

    def __init__(self, url: str, durable: bool) -> None:
        assert url == "amqp://broker/"
        self.taken.clear()

    def __enter__(self) -> Broker:
        return self

    def __exit__(self, *_: object) -> None:
        self.confirmed = self.sent

    @property
    def sent(self) -> int:
        return len(self.taken)

    def publish(self, *message: object) -> None:
        self.taken.append(message)


def replayed(line: str, monkeypatch: pytest.MonkeyPatch) -> Result:
    monkeypatch.setattr(cli, "Publisher", Broker)
    return call(line, AMQP_URL="amqp://broker/")


def published(words: list[str], monkeypatch: pytest.MonkeyPatch) -> Result:
    monkeypatch.setattr(cli, "Publisher", Broker)
    return CliRunner().invoke(main, ["publish", *words], env={"AMQP_URL": "amqp://broker/"})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["event", "public.x", "notjson"], "'public.x' is no routing key"),
        (["event", "public.btcusd.trades", "notjson"], "the body is no JSON"),
        (["event", "foo", "{}"], "'foo' is no routing key"),
        (["event", "public.\u00e9.trades", "{}"], "not ASCII"),
        (["order", "--uid", "ID1", "--file", "body"], "the body is no JSON"),
        (["trade", "--ask-uid", "ID1", "--bid-uid", "ID2", "--file", "body"], "the body is no JSON"),
        (["order", "--uid", "ID1", "--file", "list"], "nothing that Peatio publishes to peatio.orderbook"),
        (["trade", "--ask-uid", "ID1", "--bid-uid", "ID2", "--file", "list"], "publishes to peatio.trade"),
    ],
)
def test_what_the_gateway_would_drop_is_not_published(
    words: list[str], said: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "body").write_text("notjson")
    (folder / "list").write_text("[1]")
    Broker.taken.clear()
    result = published(words, monkeypatch)
    assert result.exit_code == 1
    assert result.output.startswith("Error: not published: ")
    assert said in result.output
    assert not Broker.taken


@pytest.mark.parametrize(
    "words",
    [
        ["event", "public.btcusd.trades", '{"trades":[]}'],
        ["event", "private.ID1.deposit_address", "null"],
        ["order", "--uid", "ID1"],
        ["trade", "--ask-uid", "ID1", "--bid-uid", "ID2"],
    ],
)
def test_what_the_gateway_takes_is_published(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    result = published(words, monkeypatch)
    assert result.exit_code == 0, result.output
    assert len(Broker.taken) == 1


TWO_MESSAGES = b'# recorded\npublic.btcusd.trades {"trades": []}\nprivate.ID1.order {"id":1.50}\n'
TAKEN = [
    ("peatio.events.ranger", "public.btcusd.trades", {}, b'{"trades": []}'),
    ("peatio.events.ranger", "private.ID1.order", {}, b'{"id":1.50}'),
]


def test_a_file_is_replayed_as_often_as_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "messages").write_bytes(TWO_MESSAGES)
    for option, times in ("", 1), (" --repeat 3", 3), (" --repeat 1 --rate 1e6", 1):
        result = replayed(f"publish --file messages{option}", monkeypatch)
        assert result.exit_code == 0, result.output
        assert Broker.taken == TAKEN * times
        assert re.fullmatch(rf"published {2 * times} messages in .* to peatio\.events\.ranger\n", result.output)


def test_a_replay_without_end_ends_with_ctrl_c_and_status_0(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "messages").write_bytes(TWO_MESSAGES)

    class Interrupting(Broker):
        def publish(self, *message: object) -> None:
            super().publish(*message)
            if self.sent == 5:
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(cli, "Publisher", Interrupting)
    endless = call("publish --file messages --repeat 0", AMQP_URL="amqp://broker/")
    assert (endless.exit_code, Broker.taken) == (0, (TAKEN * 3)[:5])
    cut = call("publish --file messages --repeat 9", AMQP_URL="amqp://broker/")
    assert cut.exit_code == 1
    for result in endless, cut:
        assert "published 5 messages" in result.output


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "no message"), (b"# all\n\n", "no message"), (TWO_MESSAGES + b"x {}", "line 4: 'x'")]
)
def test_of_a_file_with_a_fault_nothing_is_published(
    folder: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, said: str
) -> None:
    (folder / "messages").write_bytes(content)
    Broker.taken.clear()
    result = replayed("publish --file messages", monkeypatch)
    assert (result.exit_code, Broker.taken) == (1, [])
    assert said in result.output


@contextlib.contextmanager
def pipe(content: bytes) -> Iterator[str]:
    """The name of a file that can be read once."""
    reader, writer = os.pipe()
    try:
        os.write(writer, content)
        os.close(writer)
        yield f"/dev/fd/{reader}"
    finally:
        os.close(reader)


def test_a_pipe_is_published_as_it_comes_up_to_a_bad_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pipe(TWO_MESSAGES + b"x {}\npublic.a.b {}") as name:
        result = replayed(f"publish --file {name}", monkeypatch)
    assert (result.exit_code, Broker.taken) == (1, TAKEN)
    assert "line 4: 'x'" in result.output
    assert "published 2 messages" in result.output
    with pipe(TWO_MESSAGES) as name:
        result = replayed(f"publish --file {name} --repeat 2", monkeypatch)
    assert result.exit_code == 2
    assert "--repeat" in result.output


def test_standard_input_is_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "Publisher", Broker)
    result = CliRunner().invoke(
        main, ["publish", "--file", "-"], input=TWO_MESSAGES, env={"AMQP_URL": "amqp://broker/"}
    )
    assert (result.exit_code, Broker.taken) == (0, TAKEN), result.output


def test_progress_is_for_a_terminal_only(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("click._compat.should_strip_ansi", lambda *_: False)
    for terminal in False, True:
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal)
        progress = cli._Progress()
        progress.show(1)
        progress.show(2)
        progress.end(3)
        lines = [part.strip() for part in re.split(r"[\r\n]", capsys.readouterr().err) if part]
        counts = [int(found[1]) for line in lines if (found := re.search(r"(\d+) messages", line))]
        assert counts == ([1, 3] if terminal else [3])


def test_run_tells_all_faults_and_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*_: object) -> None:
        raise AssertionError("started with a faulty environment")

    monkeypatch.setattr(os, "execve", started)
    said = fails("run", WEBSOCKET_PORT="http", LOG_LEVEL="loud")
    assert "WEBSOCKET_PORT" in said
    assert "LOG_LEVEL" in said


class Started(Exception):
    """Raised where the process would turn into gunicorn."""

    def __init__(self, *command: object) -> None:
        super().__init__(*command)
        self.arguments: list[str] = command[1]  # type: ignore[assignment]
        self.environ: dict[str, str] = command[2]  # type: ignore[assignment]


def start(line: str, **environ: str) -> tuple[Result, dict[str, str]]:
    """What is said, and the environment that gunicorn gets."""
    result, started = turned_into(line, **environ)
    return result, started.environ


def turned_into(line: str, **environ: str) -> tuple[Result, Started]:

    def instead(*command: object) -> None:
        raise Started(*command)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "execve", instead)
        patch.setattr(ports, "check", lambda settings: None)  # nothing is served: port 8080 may be taken
        result = call(line, **environ)
    assert isinstance(result.exception, Started), result.output
    return result, result.exception


def test_run_brings_gunicorns_settings_and_serves_what_it_is_told(folder: Path) -> None:
    (folder / "mine.py").write_text("")
    for line, app in (("run", "peatio_ws.wsgi"), ("run mine:application", "mine:application")):
        arguments = turned_into(line)[1].arguments
        *_, config, served = arguments
        assert Path(config).read_bytes() == (Path(cli.__file__).parents[1] / "gunicorn.conf.py").read_bytes()
        assert served == app


@pytest.mark.parametrize("app", ["yours", "yours:application", "mine.py", "mine.py:application", "README.md", ":a"])
def test_run_tells_of_an_application_that_is_not_there(folder: Path, app: str) -> None:
    (folder / "mine.py").write_text("")
    assert f"{app}: there is no such module here" in fails(f"run {app}")


def test_run_without_a_broker_is_the_simulation_and_prints_a_token_that_lets_in() -> None:
    result, environ = start("run")
    gateway = Settings.from_env(environ)
    assert gateway.embedded
    assert gateway.simulation
    (message,) = re.findall(r'\{"jwt":.*\}', result.output)
    scheme, bearer = json.loads(message)["jwt"].split()
    identity = Verifier(gateway.token_rules).verify(bearer, time.time())
    assert (scheme, identity.uid, identity.member_id) == ("Bearer", simulation.MEMBER, simulation.MEMBER_ID)


@pytest.mark.parametrize(
    ("variables", "shown"),
    [
        ({}, "http://127.0.0.1:8080/\n"),
        ({"WEBSOCKET_HOST": "::1", "WEBSOCKET_PORT": "81"}, "http://[::1]:81/\n"),
        ({"WEBSOCKET_CONSOLE": "false"}, None),
    ],
)
def test_run_says_where_the_console_is(variables: dict[str, str], shown: str | None) -> None:
    result, _ = start("run", **variables)
    assert ("http" in result.output) is (shown is not None)
    assert shown is None or f"    {shown}" in result.output


def test_run_on_a_socket_file_names_no_address_where_nobody_listens(folder: Path) -> None:
    result, _ = start("run", WEBSOCKET_UNIX=str(folder / "socket"))
    assert str(folder / "socket") in result.output
    assert "://" not in result.output


def test_run_keeps_its_key_from_one_time_to_the_next() -> None:
    assert start("run")[1]["JWT_PUBLIC_KEY"] == start("run")[1]["JWT_PUBLIC_KEY"]


def test_run_with_a_broker_simulates_nothing_and_makes_no_key(folder: Path) -> None:
    key = public_text(private_key())
    _, environ = start("run", AMQP_URL="amqp://host", JWT_PUBLIC_KEY=key)
    assert not Settings.from_env(environ).simulation
    assert not (folder / ".run").exists()
    assert "JWT_PUBLIC_KEY" in fails("run", AMQP_URL="amqp://host")


def test_a_key_written_over_is_its_owners_only_again(folder: Path) -> None:
    call("keygen")
    path = folder / ".run" / "private.pem"
    path.chmod(0o644)
    call("keygen --force")
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_algorithm_that_does_not_exist_is_told() -> None:
    call("keygen")
    assert isinstance(call("token --algorithm nonsense").exception, SystemExit)


@pytest.mark.parametrize(
    "line",
    [
        "publish trade --ask-uid A --bid-uid B --price much",
        "publish order --uid A --file missing",
        "keygen --directory file",
        "run --folder file",
        "run --folder junk",
    ],
)
def test_what_cannot_be_read_or_written_is_told(folder: Path, line: str) -> None:
    (folder / "file").write_text("")
    (folder / "junk").mkdir()
    (folder / "junk" / "private.pem").write_text("junk")
    assert isinstance(call(line, AMQP_URL="memory://" if "publish" in line else "").exception, SystemExit)
