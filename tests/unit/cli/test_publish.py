"""`publish`: messages, files of messages, and broker errors."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from click.testing import CliRunner, Result

from peatio_ws.cli import publish
from peatio_ws.cli.main import main
from tests.unit.cli.calling import call, fails


@pytest.mark.parametrize("line", ["order --uid A", "trade --ask-uid A --bid-uid B", "event global.tickers {}"])
def test_faults_of_the_broker_url_are_shown_without_password(line: str) -> None:
    said = fails(f"publish {line}", AMQP_URL="http://user:sesame@host/")
    assert "AMQP_URL" in said
    assert "sesame" not in said
    assert "AMQP_URL" in fails(f"publish {line}", AMQP_URL="memory://")


def test_unreachable_broker_is_reported_with_addresses_not_password() -> None:
    said = fails("publish order --uid A", AMQP_URL="amqp://a:sesame@127.0.0.1:1/;amqp://b:sesame@127.0.0.1:2/x")
    assert "127.0.0.1:1/ or 127.0.0.1:2/x did not accept the message" in said
    assert "sesame" not in said


class Broker:
    """A publisher that records messages and confirms them."""

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
    monkeypatch.setattr(publish, "Publisher", Broker)
    return call(line, AMQP_URL="amqp://broker/")


def published(words: list[str], monkeypatch: pytest.MonkeyPatch) -> Result:
    monkeypatch.setattr(publish, "Publisher", Broker)
    return CliRunner().invoke(main, ["publish", *words], env={"AMQP_URL": "amqp://broker/"})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["event", "public.x", "notjson"], "'public.x': the routing key is invalid"),
        (["event", "public.btcusd.trades", "notjson"], "the body is not JSON"),
        (["event", "foo", "{}"], "'foo': the routing key is invalid"),
        (["event", "public.\u00e9.trades", "{}"], "not ASCII"),
        (["order", "--uid", "ID1", "--file", "body"], "the body is not JSON"),
        (["trade", "--ask-uid", "ID1", "--bid-uid", "ID2", "--file", "body"], "the body is not JSON"),
        (["order", "--uid", "ID1", "--file", "list"], "not what Peatio publishes to this exchange"),
        (
            ["trade", "--ask-uid", "ID1", "--bid-uid", "ID2", "--file", "list"],
            "not what Peatio publishes to this exchange",
        ),
    ],
)
def test_message_that_the_gateway_would_drop_is_refused(
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
def test_valid_messages_are_published(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_endless_replay_ends_with_ctrl_c_and_status_0(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "messages").write_bytes(TWO_MESSAGES)

    class Interrupting(Broker):
        def publish(self, *message: object) -> None:
            super().publish(*message)
            if self.sent == 5:
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(publish, "Publisher", Interrupting)
    endless = call("publish --file messages --repeat 0", AMQP_URL="amqp://broker/")
    assert (endless.exit_code, Broker.taken) == (0, (TAKEN * 3)[:5])
    cut = call("publish --file messages --repeat 9", AMQP_URL="amqp://broker/")
    assert cut.exit_code == 1
    for result in endless, cut:
        assert "published 5 messages" in result.output


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no message"),
        (b"# all\n\n", "no message"),
        (TWO_MESSAGES + b"x {}", "line 4: the gateway would drop the message 'x'"),
    ],
)
def test_nothing_of_a_faulty_file_is_published(
    folder: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, said: str
) -> None:
    (folder / "messages").write_bytes(content)
    Broker.taken.clear()
    result = replayed("publish --file messages", monkeypatch)
    assert (result.exit_code, Broker.taken) == (1, [])
    assert said in result.output


@contextlib.contextmanager
def pipe(content: bytes) -> Iterator[str]:
    """Return the name of a file that can be read once."""
    reader, writer = os.pipe()
    try:
        os.write(writer, content)
        os.close(writer)
        yield f"/dev/fd/{reader}"
    finally:
        os.close(reader)


def test_pipe_is_published_up_to_a_bad_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pipe(TWO_MESSAGES + b"x {}\npublic.a.b {}") as name:
        result = replayed(f"publish --file {name}", monkeypatch)
    assert (result.exit_code, Broker.taken) == (1, TAKEN)
    assert "line 4: the gateway would drop the message 'x'" in result.output
    assert "published 2 messages" in result.output
    with pipe(TWO_MESSAGES) as name:
        result = replayed(f"publish --file {name} --repeat 2", monkeypatch)
    assert result.exit_code == 2
    assert "--repeat" in result.output


def test_standard_input_is_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "Publisher", Broker)
    result = CliRunner().invoke(
        main, ["publish", "--file", "-"], input=TWO_MESSAGES, env={"AMQP_URL": "amqp://broker/"}
    )
    assert (result.exit_code, Broker.taken) == (0, TAKEN), result.output


def test_progress_is_shown_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("click._compat.should_strip_ansi", lambda *_: False)
    for terminal in False, True:
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal)
        progress = publish._Progress()
        progress.show(1)
        progress.show(2)
        progress.end(3)
        lines = [part.strip() for part in re.split(r"[\r\n]", capsys.readouterr().err) if part]
        counts = [int(found[1]) for line in lines if (found := re.search(r"(\d+) messages", line))]
        assert counts == ([1, 3] if terminal else [3])
