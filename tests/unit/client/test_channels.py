"""The Python client's types of Peatio's events: a mistyped field is an error of mypy."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from peatio_client import Event, PeatioClient, Stream
from peatio_client.channels import BALANCES, ORDER, kline, trades

from tests.programs import channel_types
from tests.support import documents
from tests.support.gateway import ROOT

BOT = ROOT / "examples" / "every_channel.py"
BODIES = re.compile(r'(event\.data)\["(\w+)"\]')
PARTS = re.compile(r'(order|ticker|trade)\["(\w+)"\]')
"""Where the bot reads a field: of a body, and of a part of one."""
LAMBDAS = """
from peatio_client import PeatioClient
from peatio_client.channels import ORDER, trades

client = PeatioClient("wss://exchange.example/", lambda: "token")
client.on(trades("btcusd"), lambda event: event.data["trades_wrong"])
client.on(ORDER, lambda event: event.data["price_wrong"])
client.on(ORDER, lambda event: event.data["price"])
for event in client:
    if ORDER.has(event):
        print(event.data["price_wrong"])
"""


def mypy(*programs: Path) -> dict[tuple[str, int], str]:
    """Return the errors of `mypy --strict`, by file and line."""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary", *map(str, programs)]
    environ = {
        "MYPYPATH": str(ROOT / "clients" / "python" / "src"),
        "MYPY_CACHE_DIR": str(ROOT / ".mypy_cache" / "bot"),
    }
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120)
    assert not done.stderr
    found = re.findall(r"^(.+?):(\d+): error: (.*)$", done.stdout, re.MULTILINE)
    return {(Path(file).name, int(line)): text for file, line, text in found}


def test_a_mistyped_field_of_any_channel_is_a_type_error(tmp_path: Path) -> None:
    text, programs, expected = BOT.read_text(), [BOT], set[tuple[str, int]]()
    for name, fields in (("bodies.py", BODIES), ("parts.py", PARTS)):
        programs.append(tmp_path / name)
        programs[-1].write_text(fields.sub(r'\1["\2_"]', text))
        expected |= {(name, number) for number, line in enumerate(text.splitlines(), 1) if fields.search(line)}
    programs.append(tmp_path / "lambdas.py")
    programs[-1].write_text(LAMBDAS)
    mistakes = {("lambdas.py", number) for number, line in enumerate(LAMBDAS.splitlines(), 1) if "_wrong" in line}
    assert len(mistakes) == 3
    found = mypy(*programs)
    assert found.keys() == expected | mistakes, "the bot itself has none"
    assert len(expected) >= 10
    assert all("typeddict-item" in text for text in found.values()), found


def test_the_market_making_bot_is_typed(tmp_path: Path) -> None:
    page = ROOT / "docs" / "how-to" / "market-making-bot.md"
    (bot,) = [block.text for block in documents.blocks(page) if block.how == "file bot.py"]
    (tmp_path / "bot.py").write_text(bot)
    assert mypy(tmp_path / "bot.py") == {}


def test_the_bot_reads_every_channel() -> None:
    text = BOT.read_text()
    for stream in channel_types.streams():
        assert re.search(rf"\.on\({channel_types.python_name(stream)}\b", text), stream.name


def test_a_stream_is_taken_wherever_a_name_is() -> None:
    client = PeatioClient("ws://gateway.example/", lambda: "token", [ORDER, trades("btcusd"), "global.tickers"])
    client.on(BALANCES, print).on(kline("btcusd", "5m"), print).on(Stream[Any]("deposits"), print)
    client.subscribe(BALANCES)
    client.unsubscribe(ORDER)
    with pytest.raises(ValueError, match="requires a token"):
        PeatioClient("ws://gateway.example/", None, [ORDER])
    with pytest.raises(ValueError, match="lists of names"):
        PeatioClient("ws://gateway.example/", None, trades("btcusd"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="use 'event'"):
        client.on(Stream[Any]("gap"), print)
    with pytest.raises(ValueError, match="unknown name 'deposits'"):
        client.on("deposits", print)


def test_a_stream_knows_its_events() -> None:
    event = Event[Any]("btcusd.trades", {"trades": []}, None, "")
    assert trades("btcusd").has(event)
    assert not trades("ethusd").has(event)
    assert str(kline("btcusd", "15m")) == "btcusd.kline-15m"
