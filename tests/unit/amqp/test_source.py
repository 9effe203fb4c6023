"""The source that a consumer reads, and the one that replaces it while the broker refuses the first."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from peatio_ws.amqp.source import Refusal, SourceRefused, Sources

REFUSED = SourceRefused(Refusal.TOO_OLD)


class Observer:
    """Records the notifications."""

    def __init__(self) -> None:
        self.notes: list[object] = []

    def on_source(self, refused: SourceRefused | None) -> None:
        self.notes.append(refused)

    def on_trial(self, running: bool) -> None:
        self.notes.append(running)


def source(name: str) -> Any:
    return SimpleNamespace(name=name, has_read_up_to=lambda moment: name == "queue", lag=lambda: len(name))


def test_refused_source_is_replaced_and_restored() -> None:
    observer = Observer()
    sources = Sources(source("stream"), source("queue"), observer)
    seen = [(sources.current.name, sources.replaced)]
    sources.replace(REFUSED)
    seen.append((sources.current.name, sources.replaced))
    sources.restore()
    seen.append((sources.current.name, sources.replaced))
    assert seen == [("stream", False), ("queue", True), ("stream", False)]
    assert observer.notes == [REFUSED, None]


def test_name_is_always_the_preferred_sources() -> None:
    sources = Sources(source("stream"), source("queue"))
    sources.replace(REFUSED)
    assert (sources.name, sources.lag(), sources.has_read_up_to(0.0)) == ("stream", 5, True)


def test_without_another_source_the_refusal_is_raised() -> None:
    with pytest.raises(SourceRefused):
        Sources(source("stream")).replace(REFUSED)


def test_refused_replacement_is_not_replaced() -> None:
    sources = Sources(source("stream"), source("queue"))
    sources.replace(REFUSED)
    with pytest.raises(SourceRefused):
        sources.replace(REFUSED)


def test_a_trial_is_reported() -> None:
    observer = Observer()
    sources = Sources(source("stream"), source("queue"), observer)
    sources.replace(REFUSED)
    sources.trial(True)
    sources.trial(False)
    assert observer.notes == [REFUSED, True, False]
