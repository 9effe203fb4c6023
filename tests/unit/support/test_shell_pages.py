"""Pages of commands: correct ones run, wrong ones fail and name the block."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support import documents, shell_pages


def run(folder: Path, page_text: str) -> tuple[int, str]:
    """Return status and output of a page's program."""
    page = documents.ROOT / "page.md"
    path = folder / "page.md"
    path.write_text(page_text)
    blocks = [block._replace(page=page) for block in documents.blocks(path)]
    program = shell_pages.program(blocks, folder, {"8080": "18080"})
    done = subprocess.run(
        shell_pages.COMMAND, input=program, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_shown_output_is_compared(tmp_path: Path) -> None:
    page = "```sh\necho port 8080; echo done >&2\n```\n\n```output\nport 8080\n{}\n```\n"
    assert run(tmp_path, page.format("done")) == (0, "")
    status, said = run(tmp_path, page.format("gone"))
    assert status == 1
    assert "page.md:5: status 1" in said
    assert "port 18080\ngone" in said


def test_ellipsis_matches_any_text(tmp_path: Path) -> None:
    page = "```sh\nprintf 'a 12 b\\nc\\nd\\n'\n```\n\n```output\na … b\n{}\n```\n"
    assert run(tmp_path, page.format("…\nd"))[0] == 0
    assert run(tmp_path, page.format("…\ne"))[0] == 1


def test_command_that_fails_stops_the_page(tmp_path: Path) -> None:
    assert run(tmp_path, "```sh\nfalse\n```\n\n```sh\necho never\n```\n")[0] == 1
    assert run(tmp_path, "<!-- test: status 1 -->\n```sh\nfalse\n```\n")[0] == 0
    assert run(tmp_path, "<!-- test: status 1 -->\n```sh\ntrue\n```\n")[0] == 1


def test_variables_are_kept_until_the_end_of_a_page(tmp_path: Path) -> None:
    page = "<!-- test only\nSECRET=set\n-->\n\n```sh\nexport NAME=$SECRET\n```\n\n```sh\ntest $NAME = set\n```\n"
    assert run(tmp_path, page) == (0, "")


def test_background_command_is_read_as_it_prints(tmp_path: Path) -> None:
    page = (
        "<!-- test: background cat -->\n```sh\ntail -f words\n```\n\n```output\none\n```\n\n"
        "```sh\necho two >> words\n```\n\n<!-- test: of cat -->\n```output\ntwo\n```\n"
    )
    assert run(tmp_path, f"<!-- test only\necho one > words\n-->\n\n{page}") == (0, "")


def test_block_becomes_a_file(tmp_path: Path) -> None:
    page = (
        "<!-- test: file one.txt -->\n```python\none 8080\n```\n\n```sh\ncat one.txt\n```\n\n```output\none 8080\n```\n"
    )
    assert run(tmp_path, page) == (0, "")


@pytest.mark.parametrize("page", ["```output\nalone\n```\n", "<!-- test: sideways -->\n```sh\ntrue\n```\n"])
def test_page_that_cannot_be_run_is_an_error(tmp_path: Path, page: str) -> None:
    with pytest.raises(ValueError, match=r"no command|unknown instruction"):
        run(tmp_path, page)
