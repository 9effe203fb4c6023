"""Whoever applies the changes of some time to a copy of a book has the book that all of them together made."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.orderbook.book import Book, Change, read
from peatio_ws.orderbook.views import BookCopy, changes_since, top_of

PRICES = st.sampled_from(["1", "1.0", "2.50", "2.5", "3", "10"])
VOLUMES = st.sampled_from(["0", "0.0", "1", "1.50", "7"])
SIDES = st.lists(st.tuples(PRICES, VOLUMES).map(list), max_size=5)
BODIES = st.fixed_dictionaries({"asks": SIDES, "bids": SIDES})


def change(body: dict[str, Any], sequence: int | None) -> Change:
    found = read(json.dumps(body | ({} if sequence is None else {"sequence": sequence})).encode())
    assert found is not None
    return found


@given(BODIES, st.lists(BODIES, min_size=1, max_size=8), st.booleans())
def test_changes_in_one_body_lead_to_the_same_book(
    first: dict[str, Any], rest: list[dict[str, Any]], numbered: bool
) -> None:
    book, follower = (Book(change(first, 1 if numbered else None)) for _ in range(2))
    copy = BookCopy(book)
    changes = [change(body, number if numbered else None) for number, body in enumerate(rest, 2)]
    for one in changes:
        book.apply(one)
    body = changes_since(copy, changes)
    applied = read(body)
    assert applied is not None
    follower.apply(applied)
    assert follower.render() == book.render()
    sent = json.loads(body)
    assert (sent.get("previous"), sent.get("sequence")) == ((1, len(rest) + 1) if numbered else (None, None))
    assert [float(price) for price, _ in sent["asks"]] == sorted({float(price) for price, _ in sent["asks"]})
    assert [float(price) for price, _ in sent["bids"]] == sorted({float(p) for p, _ in sent["bids"]}, reverse=True)


@given(BODIES, st.integers(1, 5))
def test_the_best_levels_are_the_first_of_each_side(body: dict[str, Any], levels: int) -> None:
    book = Book(change(body, 3))
    whole, top = json.loads(book.render()), json.loads(top_of(book, levels))
    assert top == {"asks": whole["asks"][:levels], "bids": whole["bids"][:levels], "sequence": 3}


def test_a_copy_does_not_change_with_its_book() -> None:
    book = Book(change({"asks": [["2.0", "1"]], "bids": []}, 5))
    copy, before = BookCopy(book), book.render()
    book.apply(change({"asks": [["3", "1"]], "bids": [["1", "1"]]}, 6))
    assert copy.render() == before != book.render()


def test_texts_are_as_published() -> None:
    book = Book(change({"asks": [["2.0", "1"]], "bids": [[1, 2]]}, 5))
    changes = [change({"asks": [["2.00", "0.0"]], "bids": [[1.50, 1e2]]}, 6)]
    assert changes_since(BookCopy(book), changes) == (
        b'{"asks":[["2.00","0.0"]],"bids":[[1.5,100.0]],"sequence":6,"previous":5}'
    )
