"""The Python client's order books: against a model, and what it refuses as a book."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peatio_client.books import Book, Outcome, View

PRICES = st.sampled_from(["1", "1.0", "1.00", "2", "2.5", "2.50", "10", "1e1", "0.000000000000000000001", "3"])
VOLUMES = st.sampled_from(["0", "0.0", "0e5", "1", "1.10", "7.000000000000000000001"])
SIDES = st.lists(st.tuples(PRICES, VOLUMES).map(list), max_size=6)
BODIES = st.fixed_dictionaries({}, optional={"asks": SIDES, "bids": SIDES})


def written(levels: list[tuple[Decimal, Decimal]]) -> list[tuple[str, str]]:
    return [(str(price), str(volume)) for price, volume in levels]


def expected(changes: list[dict[str, Any]], side: str) -> list[tuple[str, str]]:
    """Return the expected side: the last volume of each price, unless it is zero."""
    levels: dict[Decimal, tuple[str, str]] = {}
    for change in changes:
        for price, volume in change.get(side, ()):
            levels.pop(Decimal(price), None)
            if Decimal(volume):
                levels[Decimal(price)] = str(Decimal(price)), str(Decimal(volume))
    return [levels[price] for price in sorted(levels)]


def test_book_knows_its_market() -> None:
    assert (Book("btcusd.ob").market, Book("admin.btcusd.depth").market) == ("btcusd", "admin.btcusd.depth")


@given(st.lists(BODIES, min_size=1, max_size=8))
def test_book_holds_the_last_volume_of_each_price(bodies: list[dict[str, Any]]) -> None:
    book = Book("btcusd.ob")
    assert book.snapshot({**bodies[0], "sequence": 1}) is Outcome.CHANGED
    for number, body in enumerate(bodies[1:], 2):
        assert book.increment({**body, "sequence": number}) is Outcome.CHANGED
    asks, bids = expected(bodies, "asks"), expected(bodies, "bids")[::-1]
    assert (written(book.asks), written(book.bids), book.sequence) == (asks, bids, len(bodies))
    assert (book.best_ask, book.best_bid) == ((book.asks or [None])[0], (book.bids or [None])[0])


def test_what_follows_is_taken_and_nothing_else() -> None:
    book = Book("btcusd.ob")
    change = {"asks": ["3", "1"]}
    assert book.increment({**change, "sequence": 8}) is Outcome.HOLE, "there is nothing to change"
    book.snapshot({"asks": [["2", "1"]], "sequence": 7})
    assert book.increment({"asks": ["2", "0"], "sequence": 7}) is Outcome.IGNORED
    assert book.increment({**change, "sequence": "8"}) is Outcome.CHANGED
    assert book.increment({"asks": ["2", "0"], "sequence": 10}) is Outcome.HOLE
    assert not book.current
    assert written(book.asks) == [("2", "1"), ("3", "1")], "as it was"
    assert book.increment({**change, "sequence": 9}) is Outcome.HOLE, "until a snapshot comes"
    book.snapshot({"bids": [["2", "1"]], "sequence": 3})
    assert (book.current, book.asks, book.sequence) == (True, [], 3)


def test_a_sequence_that_starts_again_is_noticed() -> None:
    book = Book("btcusd.ob")
    book.snapshot({"asks": [["2", "1"]], "sequence": 100})
    outcomes = [book.increment({"asks": ["2", "0"], "sequence": number}) for number in (7, 3, 4, 5)]
    assert outcomes == [Outcome.IGNORED] * 3 + [Outcome.HOLE]
    assert not book.current
    book.snapshot({"asks": [["2", "1"]], "sequence": 5})
    assert book.increment({"asks": ["2", "0"], "sequence": 6}) is Outcome.CHANGED


def test_increments_that_a_snapshot_has_overtaken_are_in_the_book() -> None:
    book = Book("btcusd.ob")
    book.snapshot({"asks": [["2", "1"]], "sequence": 1})
    for number, outcome in ((2, Outcome.CHANGED), (2, Outcome.IGNORED), (1, Outcome.IGNORED), (2, Outcome.IGNORED)):
        assert book.increment({"asks": ["2", "1"], "sequence": number}) is outcome
    book.increment({"asks": ["2", "1"], "sequence": 3})
    book.snapshot({"asks": [["2", "1"]], "sequence": 9})
    assert {book.increment({"asks": ["2", "0"], "sequence": number}) for number in range(4, 10)} == {Outcome.IGNORED}
    assert book.increment({"asks": ["2", "0"], "sequence": 10}) is Outcome.CHANGED


def test_without_numbers_everything_follows() -> None:
    book = Book("btcusd.ob")
    book.snapshot({"asks": [["2", "1"]]})
    assert book.increment({"asks": ["2", "5"]}) is Outcome.CHANGED
    assert (written(book.asks), book.sequence) == ([("2", "5")], None)


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "book",
        {"asks": 1},
        {"asks": {"1": "2"}},
        {"asks": "12"},
        {"asks": [["1", "2"], "34"]},
        {"asks": [["1"]]},
        {"asks": ["a", "1"]},
        {"asks": [["NaN", "1"]]},
        {"sequence": "x"},
        {"sequence": Decimal("1.5")},
    ],
)
def test_invalid_book_changes_nothing(body: Any) -> None:
    book = Book("btcusd.ob")
    book.snapshot({"asks": [["2", "1"]], "sequence": 1})
    for take in (book.snapshot, book.increment):
        with pytest.raises(ValueError):
            take(body)
    assert (written(book.asks), book.sequence, book.current) == ([("2", "1")], 1, True)


@pytest.mark.parametrize(
    ("every", "depth", "stream"),
    [
        (None, None, "btcusd.ob-inc"),
        (0, None, "btcusd.ob-inc"),
        (250, None, "btcusd.ob-inc@250ms"),
        (None, 20, "btcusd.ob-top@20"),
        (1000, 5, "btcusd.ob-top@5/1000ms"),
    ],
)
def test_pace_and_depth_name_a_stream(every: Any, depth: Any, stream: str) -> None:
    view = View(every, depth)
    view.check()
    assert view.stream("btcusd.ob") == stream


@pytest.mark.parametrize(
    ("every", "depth", "says"), [(300, None, "every=300"), (None, 3, "depth=3"), (0, 5, "every=0")]
)
def test_views_that_the_gateway_does_not_have_are_refused(every: Any, depth: Any, says: str) -> None:
    with pytest.raises(ValueError, match=f"^{says}: .*has to be"):
        View(every, depth).check()


def test_changes_of_a_view_continue_the_book_or_show_a_hole() -> None:
    book = Book("btcusd.ob", "btcusd.ob-inc@250ms")
    assert book.changes({"asks": [["3", "1"]], "sequence": 8, "previous": 7}) is Outcome.HOLE, "there is no book"
    book.snapshot({"asks": [["2", "1"]], "sequence": 7})
    assert book.changes({"asks": [["2", "9"]], "sequence": 7, "previous": 5}) is Outcome.IGNORED, "it contains that"
    assert book.changes({"asks": [["3", "1"]], "bids": [], "sequence": 12, "previous": 7}) is Outcome.CHANGED
    assert book.changes({"asks": [["2", "0"]], "sequence": 14, "previous": 9}) is Outcome.CHANGED, "it repeats some"
    assert (book.sequence, written(book.asks)) == (14, [("3", "1")])
    assert book.changes({"asks": [["4", "1"]], "sequence": 20, "previous": 15}) is Outcome.HOLE
    assert (book.current, book.sequence, written(book.asks)) == (False, 14, [("3", "1")])
    book.snapshot({"asks": [["4", "1"]]})
    assert book.changes({"bids": [["1", "1"]]}) is Outcome.CHANGED, "of a publisher that does not number them"
