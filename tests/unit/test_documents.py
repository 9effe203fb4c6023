"""The documents: every link is valid, every code block is run, and every variable is documented.

tests/live/test_documents.py runs the blocks.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from peatio_ws.config.settings import Settings
from tests.support import documents
from tests.support.documents import Block
from tests.support.gateway import ROOT

PAGES = documents.pages()
RUN = {"python", "sh", "output", "javascript", "frames", "json", "yaml"}
"""Languages of blocks that tests/live/test_documents.py runs."""
VARIABLES = ROOT / "docs" / "settings.md"
TESTS = {name for file in (ROOT / "tests").rglob("*.py") for name in re.findall(r"def (test_\w+)", file.read_text())}
"""All tests, by name."""
NOT_DOCUMENTED = {"WEBSOCKET_SIMULATION"}
"""Variables of `make run` only."""


def dead(link: str, page: Path) -> str | None:
    """Return why a link of a page is broken, or None."""
    parts = urlsplit(link)
    if parts.scheme:
        return None if parts.scheme in ("https", "http", "mailto") and (parts.netloc or parts.path) else "no address"
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not target.exists():
        return "no such file"
    if ROOT not in (target, *target.parents):
        return "outside of the project"
    site = ROOT / "docs"
    if page.is_relative_to(site) and target.is_dir():
        return "a folder, which the site does not have"
    if parts.fragment and (target.suffix != ".md" or parts.fragment not in documents.anchors(target)):
        return "no such heading"
    return None


def shown(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_the_documents_are_found() -> None:
    assert {ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "docs" / "index.md"} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_no_link_is_broken(page: Path) -> None:
    assert not {link: why for link in documents.links(page) if (why := dead(link, page))}


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ("no-such-page.md", "no such file"),
        ("index.md#no-such-heading", "no such heading"),
        ("../deploy", "a folder, which the site does not have"),
        ("../README.md", None),
        ("https:", "no address"),
        ("../../elsewhere.md", "no such file"),
        ("index.md", None),
    ],
)
def test_broken_link_is_found(link: str, why: str | None) -> None:
    assert dead(link, ROOT / "docs" / "index.md") == why


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_each_block_is_run_or_states_why_not(page: Path) -> None:
    wrong = [str(block) for block in documents.blocks(page) if not is_in_order(block)]
    assert not wrong, "neither run nor marked with <!-- not run: WHY -->; see docs/contributing.md"


def is_in_order(block: Block) -> bool:
    if block.reason is not None:
        return bool(block.language)
    if block.language.startswith("{"):
        return True  # a directive for the documentation site
    return block.language in RUN or block.elsewhere is not None


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_pip_installs_into_a_virtual_environment(page: Path) -> None:
    """Debian's pip refuses anything else: `externally-managed-environment`."""
    for block in documents.blocks(page):
        before, found, _ = block.text.partition("pip install ")
        assert not found or before.endswith("/bin/") or "/bin/activate" in before, block


@pytest.mark.parametrize("page", ["README.md", "docs/getting-started.md"])
def test_files_that_readers_save_in_the_checkout_are_ignored(page: str) -> None:
    """`make test` would otherwise judge their style, and git would list them."""
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    saved = [block.how for block in documents.blocks(ROOT / page) if block.how and block.how.startswith("file ")]
    assert saved
    assert {f"/{how.removeprefix('file ')}" for how in saved} <= set(ignored)


def test_pages_that_other_tests_run_are_known_there() -> None:
    for (page, language), test in documents.RUN_ELSEWHERE.items():
        assert Path(page).name in (ROOT / test).read_text()
        assert language in {block.language for block in documents.blocks(ROOT / page)}


def test_block_that_no_test_runs_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "```python\n1\n```\n\n    indented\n\n```\nplain\n```\n\n```text\nno\n```\n\n"
        "<!-- not run: it is a drawing -->\n"
        "```text\nyes\n```\n\n<!-- not run: it is far away -->\n\ntext between\n\n```text\nno\n```\n"
    )
    assert [is_in_order(block) for block in documents.blocks(page)] == [True, False, False, False, True, False]


def test_every_page_of_the_site_is_in_its_contents() -> None:
    listed = set[str]()
    site = [page for page in PAGES if page.is_relative_to(ROOT / "docs")]
    for page in site:
        folder = page.parent.relative_to(ROOT / "docs")
        for block in documents.blocks(page):
            if block.language == "{toctree}":
                names = [line for line in block.text.splitlines() if not line.startswith(":")]
                listed |= {str(folder / name) for name in names}
    pages = {str(page.relative_to(ROOT / "docs")).removesuffix(".md") for page in site}
    assert listed == pages - {"index"}


def test_documents_name_exactly_the_existing_variables() -> None:
    documented = set(re.findall(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+)`", VARIABLES.read_text()))
    names = {
        alias
        for field in Settings.model_fields.values()
        if field.validation_alias is not None
        for alias in field.validation_alias.choices  # type: ignore[union-attr]
    }
    assert names - NOT_DOCUMENTED <= documented
    assert not {name for name in documented - names if name.startswith("WEBSOCKET_")}


def test_settings_have_their_types_defaults_examples_and_anchors() -> None:
    """Each variable has a row with an anchor of its name, and the default of the code."""
    rows = re.findall(
        r'^\| <a id="(\w+)"></a>`([A-Z_<>]+)` \| (.+) \| (.+) \| (.+) \| .+ \|$', VARIABLES.read_text(), re.M
    )
    assert [variable.replace("<PREFIX>", "PREFIX") for _, variable, *_ in rows] == [anchor for anchor, *_ in rows]
    defaults = {variable: default.strip("`") for _, variable, _, default, _ in rows}
    assert len(defaults) == len(rows)
    for name, field in Settings.model_fields.items():
        variable, *others = field.validation_alias.choices if field.validation_alias else [None]  # type: ignore[union-attr]
        if variable not in (None, *NOT_DOCUMENTED) and field.default not in (None, ()):
            expected = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
            assert defaults[str(variable)] in (expected, *others), name


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_tests_and_files_named_in_pages_exist(page: Path) -> None:
    text = page.read_text()
    assert set(re.findall(r"::(test_\w+)", text)) <= TESTS
    folders = "tests|peatio_ws|bench|deploy|examples|clients|docs"
    named = re.findall(rf"(?<![\w./(])((?:{folders})/[\w./-]+\.\w+)", text)
    assert [name for name in named if not (ROOT / name).exists() and not name.startswith("deploy/tls/")] == []


def test_documents_contain_no_name_of_this_workplace() -> None:
    for page in PAGES:
        assert not re.search(r"/work/|\bshared/|\bissue [0-9]+|\bissue #[0-9]", page.read_text()), page
