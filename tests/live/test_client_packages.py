"""The client packages: their contents and their types. Other tests cover their behaviour."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.live.conftest import CLIENT, EXAMPLES
from tests.programs import channel_types
from tests.support.gateway import ROOT

BOT = CLIENT / "test" / "bot.mts"
FIELD = re.compile(r"(\bdata(?:\??\.\w+|\[[^\]]*\])*\??\.)(\w+)(?<!whatever)\b")
"""The last field that an expression reads from a body."""


def run(*command: str) -> str:
    done = subprocess.run(command, cwd=CLIENT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_declarations_are_what_the_compiler_reads_in_the_module(compiler: None, tmp_path: Path) -> None:
    run("node_modules/.bin/tsc", "--outDir", str(tmp_path))
    made = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*.d.mts")}
    kept = {path: (CLIENT / "types" / path).read_text() for path in made}
    assert made == kept, "`npm run types` in clients/js writes them again"
    assert len(made) == 1 + len(list(CLIENT.glob("src/*.mjs")))


def test_a_program_in_typescript_can_use_them(compiler: None) -> None:
    run("node_modules/.bin/tsc", "-p", "test")


def test_a_mistyped_field_of_any_channel_is_a_type_error(compiler: None, tmp_path: Path) -> None:
    """In a folder with the package installed. `usage.mts` and `bot.mts` as they are compile: see above."""
    text = BOT.read_text()
    (tmp_path / "wrong.mts").write_text(FIELD.sub(r"\1\2_", text))
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "peatio-client").symlink_to(CLIENT)
    options = "--ignoreConfig --noEmit --strict --target es2022 --module nodenext --lib es2023,dom --pretty false"
    command = [CLIENT / "node_modules/.bin/tsc", *options.split(), "--types", "", "wrong.mts"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    found = {int(line) for line in re.findall(r"^wrong\.mts\((\d+),\d+\): error TS", done.stdout, re.MULTILINE)}
    fields = {number for number, line in enumerate(text.splitlines(), 1) if FIELD.search(line)}
    assert found == fields, done.stdout
    assert len(fields) >= 9


def test_the_typescript_bot_reads_every_channel() -> None:
    names = re.findall(r'\.on\("([^"]+)"', BOT.read_text())
    for stream in channel_types.streams():
        pattern = re.sub(r"<\\?\w+\\?>", r"\\w+", re.escape(stream.name))
        assert any(re.fullmatch(pattern, name) for name in names), stream.name


def test_what_needs_no_gateway() -> None:
    assert "# fail 0" in run("node", "--test", "--test-force-exit", "--test-timeout=60000")


def test_what_npm_packs(node_modules: None) -> None:
    packed = EXAMPLES / "node_modules" / "peatio-client"
    code = {"peatio-client.cjs", "peatio-client.mjs", "src", "types"}
    assert {path.name for path in packed.iterdir()} == {"LICENSE", "README.md", "package.json", *code}
    for folder in ("src", "types", "types/src"):
        assert {path.name for path in (packed / folder).iterdir()} == {
            path.name for path in (CLIENT / folder).iterdir()
        }


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
