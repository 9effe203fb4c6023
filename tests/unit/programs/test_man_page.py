"""The man page is current, and roff prints what `--help` prints."""

from __future__ import annotations

import pytest

from tests.programs import man_page


def test_the_page_is_current() -> None:
    assert man_page.PAGE.read_text() == man_page.page(), "`python -m tests.programs.man_page` writes it again"


@pytest.mark.parametrize(
    ("words", "escaped"),
    [
        ("--json it's", r"\-\-json it\(aqs"),
        ("a\\b", r"a\eb"),
        (".run/private.pem\n.B", "\\&.run/private.pem\n\\&.B"),
        ("`who UID`", r"\(gawho UID\(ga"),
    ],
)
def test_words_are_no_requests_of_roff(words: str, escaped: str) -> None:
    assert man_page.text(words) == escaped


def test_marked_paragraphs_keep_their_lines() -> None:
    assert list(man_page.paragraphs("One\n two.\n\n\b\nThree\n  four")) == [
        "One two.",
        ".PP",
        ".nf\nThree\n  four\n.fi",
    ]
