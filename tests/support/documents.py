"""The documents' links, headings and code blocks; docs/contributing.md describes them.

Knows Markdown; does not know what a block contains.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.support.gateway import ROOT

LEFT_OUT = {"node_modules", "build", ".run", ".cache"}
_STRANGERS = "tests/live/test_strangers.py"
RUN_ELSEWHERE = {
    ("docs/handlers.md", "python"): "tests/live/test_docs.py",
    ("docs/how-to/trading-page.md", "html"): _STRANGERS,
    ("clients/python/README.md", "python"): "tests/live/test_client_packages.py",
    ("clients/js/README.md", "js"): "tests/live/test_client_packages.py",
    **{
        (page, language): _STRANGERS
        for page, languages in {
            "README.md": ("python", "sh", "output"),
            "clients/python/README.md": ("sh", "output"),
            "clients/js/README.md": ("sh", "output"),
            "docs/how-to/command-line-tools.md": ("sh", "output"),
            "docs/how-to/market-making-bot.md": ("python", "sh", "output"),
        }.items()
        for language in languages
    },
}
"""Programs that another test runs, by page and language."""
_NOT_RUN = re.compile(r"<!-- not run: (\S.*) -->\s*")
_TEST = re.compile(r"<!-- test: (\S.*) -->\s*")
_TEST_ONLY = re.compile(r"<!-- test only\n(.*)-->\s*", re.DOTALL)
_MARKDOWN = MarkdownIt("commonmark").enable("table")
_BLOCKS_ONLY = MarkdownIt("commonmark").enable("table").disable("inline")
"""Takes a third of the time; each test process reads the blocks of all documents when it collects its tests."""


class Block(NamedTuple):
    """A block of code.

    Attributes:
        language: the word after the fence; empty without one.
        reason: why it is not run; None if it is.
        how: how the test runs it, from a comment that is not rendered; None for the usual way.
    """

    page: Path
    line: int
    language: str
    text: str
    reason: str | None
    how: str | None = None

    @property
    def elsewhere(self) -> str | None:
        """Return the test that runs the block, if it is not tests/live/test_documents.py."""
        return RUN_ELSEWHERE.get((str(self.page.relative_to(ROOT)), self.language))

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """Return all documents of the project."""
    found = []
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in LEFT_OUT and not name.startswith(".venv")]
        found += [Path(folder, name) for name in files if name.endswith(".md")]
    return sorted(found)


@cache
def _parsed(text: str) -> list[Token]:
    return _MARKDOWN.parse(text)


@cache
def _parsed_blocks(text: str) -> list[Token]:
    return _BLOCKS_ONLY.parse(text)


def tokens(page: Path) -> list[Token]:
    return _parsed(page.read_text())


def blocks(page: Path) -> Iterator[Block]:
    """Yield the code blocks of a page, and the shell commands that only the test runs."""
    reason = how = None
    for token in _parsed_blocks(page.read_text()):
        line = (token.map or [0])[0] + 1
        comment = token.content if token.type == "html_block" else ""
        if token.type in ("fence", "code_block"):
            yield Block(page, line, token.info.strip(), token.content, reason, how)
        elif hidden := _TEST_ONLY.fullmatch(comment):
            yield Block(page, line, "sh", hidden[1], None)
        reason = found[1] if (found := _NOT_RUN.fullmatch(comment)) else None
        how = found[1] if (found := _TEST.fullmatch(comment)) else None


def links(page: Path) -> Iterator[str]:
    """Return the targets of links and pictures."""
    for token in tokens(page):
        for inner in token.children or []:
            for name in ("href", "src"):
                if name in inner.attrs:
                    yield str(inner.attrs[name])


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and the documentation site generate them."""
    found: set[str] = set()
    seen = Counter[str]()
    inside = False
    for token in tokens(page):
        if inside:
            text = "".join(inner.content for inner in token.children or [] if inner.type in ("text", "code_inline"))
            slug = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
            found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
        inside = token.type == "heading_open"
    return found
