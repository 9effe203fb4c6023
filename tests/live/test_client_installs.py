"""The client packages as a stranger installs them: by the path of their folder, from an empty one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import Distribution
from pathlib import Path

import peatio_client
import pytest

from tests.live.conftest import CLIENT, NPM_SECONDS, VITE
from tests.support import stranger
from tests.support.servers import free_port

REFUSED = "refuses connections; is this the port of the gateway, and is it running?"
PROGRAM = """
const client = new PeatioClient("ws://127.0.0.1:PORT/?stream=btcusd.trades");
client.on("disconnected", ({ reason }) => { console.log(reason); client.close(); });
client.run();
"""
TYPED = """
const client = new PeatioClient("ws://exchange.example/", { token: "token" });
const text: Promise<string | undefined> = client.next(5).then((event) => event?.text);
client.on("order", ({ data }) => console.log(data.state, text)).once("gap", ({ cursor }) => console.log(cursor));
// @ts-expect-error there is no such field
client.on("order", ({ data }) => console.log(data.stat));
const wrong = (error: unknown) => error instanceof Refused;
console.log(wrong);
"""


def run(folder: Path, *command: str, seconds: float = 60) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `npm install <path>` has run. The path is a copy of the package, without dependencies."""
    place = tmp_path_factory.mktemp("stranger")
    shutil.copytree(CLIENT, place / "clients-js", ignore=shutil.ignore_patterns("node_modules"))
    (place / "project").mkdir()
    flags = ("--no-audit", "--no-fund", "--prefer-offline")
    run(place / "project", "npm", "install", *flags, str(place / "clients-js"), seconds=NPM_SECONDS)
    return place / "project"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("first.mjs", 'import { PeatioClient } from "peatio-client";'),
        ("first.cjs", 'const { PeatioClient } = require("peatio-client");'),
    ],
)
def test_npm_install_of_the_folder_is_enough_for_a_program(project: Path, name: str, line: str) -> None:
    port = free_port()
    (project / name).write_text(line + PROGRAM.replace("PORT", str(port)))
    assert run(project, "node", name) == f"127.0.0.1:{port} {REFUSED}\n", "`ws` is there: it tells why"


def test_a_page_of_vite_has_no_dependencies(project: Path) -> None:
    """Neither its development server, which reloads the page when it finds one late, nor its bundle."""
    run(
        project, "npm", "install", "--no-save", "--no-audit", "--no-fund", "--prefer-offline", VITE, seconds=NPM_SECONDS
    )
    (project / "index.html").write_text('<script type="module" src="./page.mjs"></script>')
    (project / "page.mjs").write_text(
        'import { PeatioClient } from "peatio-client"; new PeatioClient("ws://host/public");'
    )
    run(project, "node_modules/.bin/vite", "optimize", "--force")
    found = json.loads((project / "node_modules/.vite/deps/_metadata.json").read_text())
    assert found["optimized"] == {}
    run(project, "node_modules/.bin/vite", "build")
    bundle = "".join(path.read_text() for path in (project / "dist").rglob("*.js"))
    assert "browsers give no reason" in bundle, "the client is in it"
    assert "ws does not work in the browser" not in bundle


@pytest.mark.parametrize("name", ["typed.mts", "typed.cts"])
def test_types_of_both_kinds_of_modules(project: Path, compiler: None, name: str) -> None:
    (project / name).write_text('import { PeatioClient, Refused } from "peatio-client";' + TYPED)
    options = "--ignoreConfig --noEmit --strict --target es2022 --module nodenext --lib es2023,dom --types"
    run(project, str(CLIENT / "node_modules/.bin/tsc"), *options.split(), "", name)


def test_pip_install_of_the_folder_is_enough_for_a_program(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    site = stranger.installed_client(tmp_path_factory)
    (found,) = Distribution.discover(name="peatio-client", path=[str(site)])
    assert found.version == peatio_client.__version__ == json.loads((CLIENT / "package.json").read_text())["version"]
    assert "Typing :: Typed" in (found.metadata.get_all("Classifier") or [])
    assert found.metadata.get_all("Project-URL")
    program = "import peatio_client; print(peatio_client.__file__)"
    environ = {**os.environ, "PYTHONPATH": str(site)}
    where = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert Path(where.stdout.strip()).is_relative_to(site), where.stderr
    assert (Path(where.stdout.strip()).parent / "py.typed").exists()
