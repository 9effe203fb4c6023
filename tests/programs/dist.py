"""Build everything a release consists of, and try each part where nothing else is installed.

    python -m tests.programs.dist [--into dist]

Only files that are committed are built. Into the folder come wheel and sdist of the gateway and of the Python client,
the package of the JavaScript client, the build context of the container image, a list of what the image contains
(SBOM, CycloneDX), the Helm chart and checksums. Needs `git`, `npm` and Helm (`helm.py`), and the packages of
deploy/dist-requirements.txt.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.programs import helm

ROOT = Path(__file__).parent.parent.parent
CHART = Path("deploy") / "helm" / "peatio-ws"
INSTALL_SECONDS = 600.0
START_SECONDS = 60.0
PIP = ("-m", "pip", "--disable-pip-version-check", "--quiet")
NPM_FLAGS = ("--silent", "--no-audit", "--no-fund")
BLOCK = r"^```%s\n(.*?)^```$"
TRIAL_URL = "ws://127.0.0.1:8080/"
"""What the READMEs' first examples connect to."""


def versions(root: Path) -> dict[str, str]:
    """Return the version that each part claims."""
    package = (root / "peatio_ws" / "version.py").read_text()
    client = (root / "clients" / "python" / "src" / "peatio_client" / "__init__.py").read_text()
    chart = dict(re.findall(r"^(version|appVersion): (.+)$", (root / CHART / "Chart.yaml").read_text(), re.M))
    return {
        "peatio_ws/version.py": re.findall(r'^VERSION = "(.+)"$', package, re.M)[0],
        "clients/python": re.findall(r'^__version__ = "(.+)"$', client, re.M)[0],
        "clients/js/package.json": json.loads((root / "clients" / "js" / "package.json").read_text())["version"],
        "CHANGELOG.md": re.findall(r"^## (\S+)", (root / "CHANGELOG.md").read_text(), re.M)[0],
        "the chart": chart["version"],
        "the chart's image": chart["appVersion"],
    }


def image_context(root: Path) -> list[str]:
    """Return the files and folders that deploy/Dockerfile copies, and those that say how; relative to the root."""
    lines = (root / ".dockerignore").read_text().splitlines()
    return [".dockerignore", "deploy/Dockerfile", *(line[1:] for line in lines if line.startswith("!"))]


def first_example(readme: str, language: str) -> str:
    """Return the first code block in a language."""
    found = re.search(BLOCK % language, readme, re.M | re.S)
    if found is None:
        raise ValueError(f"no example in {language}")
    return found[1]


def run(*command: str | Path, cwd: Path, **environ: str) -> str:
    """Run a command. Return what it prints; raises CalledProcessError after it has printed why."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=INSTALL_SECONDS,
    )
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        done.check_returncode()
    return done.stdout


def run_helm(*words: str | Path, cwd: Path) -> str:
    """Run Helm. Return what it prints."""
    program = helm.program()
    if program is None:
        raise RuntimeError("helm is missing: python -m tests.programs.helm")
    return run(program, *words, cwd=cwd)


def environment(place: Path, *install: str | Path) -> Path:
    """Make a virtual environment and install something. Return the folder of its programs."""
    run(sys.executable, "-m", "venv", place, cwd=place.parent)
    run(place / "bin" / "python", *PIP, "install", *install, cwd=place.parent)
    return place / "bin"


# ---- building


def build(source: Path, into: Path, version: str) -> list[Path]:
    """Build all parts but the SBOM. Return them."""
    for project in (source, source / "clients" / "python"):
        run(sys.executable, "-m", "build", "--outdir", into, project, cwd=source)
    run("npm", "pack", *NPM_FLAGS, "--ignore-scripts", "--pack-destination", into, cwd=source / "clients" / "js")
    with tarfile.open(into / f"peatio-ws-{version}-image.tar.gz", "w:gz") as context:
        for name in image_context(source):
            context.add(source / name, name)
    run_helm("package", source / CHART, "--destination", into, cwd=source)
    return sorted(into.iterdir())


@contextmanager
def committed(root: Path) -> Iterator[Path]:
    """Yield a copy of what is committed."""
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=root, capture_output=True, check=True).stdout
    with tempfile.TemporaryDirectory(prefix="peatio_ws-dist-") as name:
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(name, filter="tar")
        yield Path(name)


def checksums(parts: Sequence[Path]) -> str:
    """Return the text of a file for `sha256sum --check`."""
    return "".join(f"{hashlib.sha256(part.read_bytes()).hexdigest()}  {part.name}\n" for part in parts)


# ---- trying


@contextmanager
def serving(command: Sequence[str | Path], cwd: Path, ports: tuple[int, int], **environ: str) -> Iterator[None]:
    """Run a gateway, until the block ends, and wait until it is ready."""
    port, metrics = map(str, ports)
    settings = {"WEBSOCKET_HOST": "127.0.0.1", "WEBSOCKET_PORT": port, "METRICS_PORT": metrics, **environ}
    with (cwd / "gateway.log").open("w") as log:
        gateway = subprocess.Popen(
            list(map(str, command)), cwd=cwd, env={**os.environ, **settings}, stdout=log, stderr=log
        )
    try:
        until = time.monotonic() + START_SECONDS
        while not is_ready(metrics):
            if gateway.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the gateway is not ready:\n{(cwd / 'gateway.log').read_text()}")
            time.sleep(0.1)
        yield
    finally:
        gateway.send_signal(signal.SIGTERM)
        gateway.wait(START_SECONDS)


def is_ready(metrics_port: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def first_line(command: Sequence[str | Path], cwd: Path, environ: Mapping[str, str]) -> str:
    """Run an example that does not end. Return the first line that it prints."""
    example = subprocess.Popen(
        list(map(str, command)), cwd=cwd, env={**os.environ, **environ}, stdout=subprocess.PIPE, text=True
    )
    try:
        assert example.stdout is not None
        return example.stdout.readline().strip()
    finally:
        example.kill()
        example.wait()


def try_all(parts: Sequence[Path], place: Path, version: str, ports: tuple[int, int]) -> None:
    """Install each part in an environment of its own, and use it as its README says. Raises if one does not work."""
    wheel, client = (one(parts, f"{name}-*.whl") for name in ("peatio_ws", "peatio_client"))
    folders = {name: place / name for name in ("wheel", "sdist", "client", "client-sdist", "js")}
    for folder in folders.values():
        folder.mkdir()

    programs = environment(folders["wheel"] / "venv", wheel)
    tried(wheel, run(programs / "peatio-ws", "--version", cwd=place), version)
    tried(wheel, (programs.parent / "share" / "man" / "man1" / "peatio-ws.1").read_text(), "Generated by")
    with serving([programs / "peatio-ws", "run"], folders["wheel"], ports):
        token = run(programs / "peatio-ws", "token", "--member-id", "1001", cwd=folders["wheel"]).strip()
        environ, url = {"TOKEN": token}, f"ws://127.0.0.1:{ports[0]}/"

        python = environment(folders["client"] / "venv", client) / "python"
        with zipfile.ZipFile(client) as files:
            (described,) = [name for name in files.namelist() if name.endswith("/METADATA")]
            example = first_example(files.read(described).decode(), "python")
        (folders["client"] / "first.py").write_text(example.replace(TRIAL_URL, url))
        tried(client, first_line([python, "first.py"], folders["client"], environ), "order")

        package = one(parts, "peatio-client-*.tgz")
        run("npm", "install", *NPM_FLAGS, package, cwd=folders["js"])
        readme = (folders["js"] / "node_modules" / "peatio-client" / "README.md").read_text()
        (folders["js"] / "first.mjs").write_text(first_example(readme, "js").replace(TRIAL_URL, url))
        tried(package, first_line(["node", "first.mjs"], folders["js"], environ), "order")

    for name, folder in (("peatio_ws", "sdist"), ("peatio_client", "client-sdist")):
        sdist = one(parts, f"{name}-*.tar.gz")
        programs = environment(folders[folder] / "venv", sdist)
        tried(sdist, run(programs / "python", "-c", f"import {name}; print({name}.__version__)", cwd=place), version)


def try_image(context: Path, place: Path, ports: tuple[int, int]) -> Path:
    """Do what deploy/Dockerfile does, without containers. Return the environment's Python."""
    with tarfile.open(context) as files:
        files.extractall(place, filter="tar")
    requirements = place / "requirements.txt"
    programs = environment(place / "venv", "--only-binary", ":all:", "-r", requirements)
    run(programs / "python", *PIP, "uninstall", "--yes", "pip", "setuptools", cwd=place)
    with serving(
        [programs / "gunicorn", "wsgi"],
        place,
        ports,
        AMQP_URL="memory://",
        JWT_ALGORITHM="HS256",
        JWT_PUBLIC_KEY="k" * 32,
    ):
        tried(context, "ready", "ready")
    return programs / "python"


def try_chart(chart: Path, place: Path, version: str) -> None:
    """Render the chart with its default values, in a folder without anything else of the project."""
    run_helm("lint", "--strict", chart, cwd=place)
    printed = run_helm("template", "trial", chart, "--set", "existingSecret=trial,dashboard.enabled=true", cwd=place)
    tried(chart, printed, f'image: "peatio-ws:{version}"')
    if "peatio_ws_connections" not in printed:
        raise RuntimeError(f"{chart.name}: does not contain the dashboard")


def two_ports() -> tuple[int, int]:
    """Return two ports that are free now. Not those of `tests.support`, which needs more than is installed here."""
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        return first.getsockname()[1], second.getsockname()[1]


def one(parts: Sequence[Path], pattern: str) -> Path:
    (found,) = [part for part in parts if part.match(pattern) and "-image" not in part.name]
    return found


def tried(part: Path, printed: str, expected: str) -> None:
    if expected not in printed:
        raise RuntimeError(f"{part.name}: printed {printed!r}, not {expected!r}")
    print(f"works where nothing else is installed: {part.name}", flush=True)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--into", type=Path, default=ROOT / "dist", help="folder, which is emptied first (dist)")
    into: Path = parser.parse_args(words).into.resolve()
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    with committed(ROOT) as source, tempfile.TemporaryDirectory(prefix="peatio_ws-dist-") as name:
        claimed = versions(source)
        if len(set(claimed.values())) > 1:
            print(f"versions differ: {claimed}", file=sys.stderr)
            return 1
        (version,) = set(claimed.values())
        parts, place = build(source, into, version), Path(name)
        try_all(parts, place, version, two_ports())
        try_chart(one(parts, "peatio-ws-*.tgz"), place, version)
        image = place / "image"
        image.mkdir()
        python = try_image(into / f"peatio-ws-{version}-image.tar.gz", image, two_ports())
        sbom = into / f"peatio-ws-{version}.cdx.json"
        run(sys.executable, "-m", "cyclonedx_py", "environment", "--output-file", sbom, python, cwd=place)
        (into / "SHA256SUMS").write_text(checksums([*parts, sbom]))
    for part in sorted(into.iterdir()):
        print(f"{part.stat().st_size:>10,} {part.relative_to(Path.cwd()) if part.is_relative_to(Path.cwd()) else part}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
