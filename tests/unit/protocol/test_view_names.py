"""The names of views, by contract section 8."""

from __future__ import annotations

import pytest

from peatio_ws.protocol.stream_syntax import kind_of
from peatio_ws.protocol.view_names import View, ViewKind, is_view, published_stream, view_names, view_of

VIEWS = {
    "btcusd.ob-inc@250ms": View(ViewKind.CHANGES, "btcusd.ob-inc", 0.25),
    "btcusd.ob-top@20": View(ViewKind.TOP, "btcusd.ob-inc", 0.5, 20),
    "btcusd.ob-top@1/100ms": View(ViewKind.TOP, "btcusd.ob-inc", 0.1, 1),
    "global.tickers@5000ms": View(ViewKind.LATEST, "global.tickers", 5.0),
    "btcusd.ob-snap@1000ms": View(ViewKind.LATEST, "btcusd.ob-snap", 1.0),
    "admin.btcusd.ob-inc@2000ms": View(ViewKind.CHANGES, "admin.btcusd.ob-inc", 2.0),
    "admin.btcusd.ob-top@50": View(ViewKind.TOP, "admin.btcusd.ob-inc", 0.5, 50),
}


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_is_recognized_by_its_name(name: str) -> None:
    assert view_of(name) == VIEWS[name]
    assert published_stream(name) == VIEWS[name].stream
    assert kind_of(name) is not None


@pytest.mark.parametrize(
    "name",
    [
        "btcusd.ob-inc@",
        "btcusd.ob-inc@250",
        "btcusd.ob-inc@300ms",
        "btcusd.ob-inc@0250ms",
        "btcusd.ob-inc@250ms@250ms",
        "btcusd.ob-top@2",
        "btcusd.ob-top@20/",
        "btcusd.ob-top@20/300ms",
        "btcusd.ob-top@20ms",
        "btcusd.ob-top@20@250ms",
        "btcusd.trades@20",
        "btcusd.trades@20/250ms",
        "btcusd.@250ms",
        "order@250ms",
    ],
)
def test_there_is_no_such_view(name: str) -> None:
    assert is_view(name)
    assert view_of(name) is None
    assert published_stream(name) == name


@pytest.mark.parametrize("name", ["btcusd.trades", "btc@usd.trades", "a@b.btcusd.trades", "order", "global.tickers"])
def test_other_names_are_no_views(name: str) -> None:
    assert not is_view(name)
    assert view_of(name) is None


@pytest.mark.parametrize("stream", ["btcusd.ob-inc", "admin.btcusd.ob-inc", "global.tickers", "btcusd.ob-snap"])
def test_all_views_of_a_stream_are_listed(stream: str) -> None:
    names = view_names(stream)
    views = [view_of(name) for name in names]
    assert len(set(names)) == len(names) == (41 if stream.endswith("-inc") else 6)
    assert all(view is not None and view.stream == stream for view in views)
    assert {name for name, view in VIEWS.items() if view.stream == stream} <= set(names)
