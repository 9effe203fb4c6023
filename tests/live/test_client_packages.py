"""The client packages: their contents and their types. Other tests cover their behaviour."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.live.conftest import CLIENT, EXAMPLES
from tests.support.gateway import ROOT


def run(*command: str) -> str:
    done = subprocess.run(command, cwd=CLIENT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_declarations_are_what_the_compiler_reads_in_the_module(compiler: None, tmp_path: Path) -> None:
    run("node_modules/.bin/tsc", "--outDir", str(tmp_path))
    name = "peatio-client.d.mts"
    assert (CLIENT / name).read_text() == (tmp_path / name).read_text(), "`npm run types` in clients/js writes it again"


def test_a_program_in_typescript_can_use_them(compiler: None) -> None:
    run("node_modules/.bin/tsc", "-p", "test")


def test_what_needs_no_gateway() -> None:
    assert "# fail 0" in run("node", "--test")


def test_what_npm_packs(node_modules: None) -> None:
    files = {path.name for path in (EXAMPLES / "node_modules" / "peatio-client").iterdir()}
    assert files == {"LICENSE", "README.md", "package.json", "peatio-client.d.mts", "peatio-client.mjs"}


@pytest.mark.parametrize("program", sorted(EXAMPLES.glob("orders*")), ids=lambda program: program.name)
def test_readmes_show_the_programs_of_ten_lines(program: Path) -> None:
    """Which they are without imports."""
    text = program.read_text()
    code = text[text.index("\nimport ") :]
    readme = CLIENT.parent / ("python" if program.suffix == ".py" else "js") / "README.md"
    assert code in readme.read_text()
    lines = [line for line in code.splitlines() if line and not line.startswith(("import ", "from "))]
    assert len(lines) <= 10, lines


@pytest.mark.parametrize("folder", ["js", "python"])
def test_they_carry_the_licence(folder: str) -> None:
    assert (ROOT / "clients" / folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
