"""The table and the verdict of `python -m bench.scale`, and what the documents show of them."""

from __future__ import annotations

import re

import pytest

from bench.scale import __main__ as command
from bench.scale.costs import Costs
from bench.scale.model import Exchange, Setup
from bench.scale.report import Capacity, report, sizes
from tests.support import documents
from tests.support.gateway import ROOT
from tests.unit.bench.scale_costs import costs

COSTS = Costs.read()
EXCHANGE = Exchange(clients=1000, members=1000, private=100, public=100, followers=10)
PAGE = ROOT / "docs" / "operations.md"
SHOWN = [block.text for block in documents.blocks(PAGE) if block.text.startswith("python3 -m bench.scale")]


def verdict(known: Costs, setup: Setup) -> list[str]:
    return report(known, EXCHANGE, setup, Capacity()).split("\n\n")[1].splitlines()


def test_the_first_limit_is_named() -> None:
    sentences = verdict(costs(publish_private=6000), Setup(2, 2))
    assert sentences[:2] == [
        "The first limit is RabbitMQ: 30% used, of at most 60%.",
        "It reaches its limit at 2.0 times the events.",
    ]


def test_an_overloaded_resource_says_what_it_carries() -> None:
    sentences = verdict(costs(read_private=8000), Setup(2, 2))
    assert "80% used" in sentences[0]
    assert sentences[1] == "It is overloaded. It can handle 0.75 times the events."


def test_clients_alone_can_overload() -> None:
    assert verdict(costs(connection_second=4000), Setup(1, 1))[1] == "It is overloaded."


def test_events_that_cost_nothing_are_no_limit() -> None:
    assert verdict(costs(worker_second=100_000), Setup(1, 1))[1] == "More events do not bring it to its limit."


def test_the_verdict_tells_what_happens_while_a_host_is_down() -> None:
    sentences = verdict(costs(connection_second=1000, connect=2000), Setup(2, 1))
    assert sentences[2] == (
        "While one host is down, the busiest worker is 100% used, of at most 80%, and a worker has 1,000 clients."
    )
    sentences = verdict(costs(connection_second=500, connect=2000), Setup(2, 1))
    assert sentences[3] == "The 500 clients of the failed host reconnect within 2.0 s if all reconnect at once."


@pytest.mark.parametrize("words", [["--tls"], ["--no-history"], ["--books"], ["--nodes", "3"], ["--readers", "2"]])
def test_options_change_the_answer(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    command.main(["--followers", "1"])
    usual = capsys.readouterr().out
    command.main(["--followers", "1", *words])
    assert capsys.readouterr().out != usual


def test_documents_show_a_command() -> None:
    assert SHOWN


@pytest.mark.parametrize("text", SHOWN)
def test_documents_show_what_the_command_prints(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = [block.text for block in documents.blocks(PAGE)]
    shown = blocks[blocks.index(text) + 1]
    command.main(re.sub(r"\\\n", " ", text).split()[3:])
    printed = capsys.readouterr().out
    assert [line.rstrip() for line in shown.splitlines()] == [line.rstrip() for line in printed.splitlines()]


def test_documents_compare_setups_as_the_model_does() -> None:
    assert sizes(COSTS) in PAGE.read_text()
