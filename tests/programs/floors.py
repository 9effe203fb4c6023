"""The lowest versions that the two `pyproject.toml` allow, as requirements for pip; `make test-floors` installs them.

Each dependency gets exactly its lowest version. Everything else (the tests' requirements, and dependencies of
dependencies) gets the version of `requirements-dev.txt`. Imports only the standard library: it runs before anything is
installed.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parent.parent.parent
PROJECTS: Final = [ROOT / "pyproject.toml", ROOT / "clients" / "python" / "pyproject.toml"]
PINS: Final = ROOT / "requirements-dev.txt"
TIED: Final = {
    "pydantic-core",
    "opentelemetry-semantic-conventions",
    # Only live tests that do not run with the floors use these.
    "opentelemetry-distro",
    "opentelemetry-exporter-http-transport",
    "opentelemetry-exporter-otlp-common",
    "opentelemetry-exporter-otlp-proto-common",
    "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry-instrumentation",
    "opentelemetry-proto",
}
"""Packages that are not pinned: another package requires an exact version of them at its own floor."""
SAME_VERSION: Final = {"opentelemetry-sdk": "opentelemetry-api"}
"""Packages of the tests that require exactly their own version of a dependency."""

_FLOOR: Final = re.compile(r"([A-Za-z0-9._-]+)(\[[a-z,]+\])? *>=([0-9.]+)(?:,<[0-9.]+)?")


class Floor(NamedTuple):
    """The lowest version of a dependency.

    Attributes:
        name: as `normalized` has it.
        extras: in brackets; empty without extras.
    """

    name: str
    extras: str
    version: str


def normalized(name: str) -> str:
    """Return a package's name in the form that is compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def dependencies(project: Path) -> list[str]:
    """Return the dependencies of a `pyproject.toml`, those of extras too, as they are written there."""
    described = tomllib.loads(project.read_text())["project"]
    found: list[str] = described["dependencies"]
    for extra in described.get("optional-dependencies", {}).values():
        found += extra
    return found


def floor(dependency: str) -> Floor:
    """Return the lowest version that a dependency allows. ValueError if it names none."""
    match = _FLOOR.fullmatch(dependency)
    if match is None:
        raise ValueError(f"{dependency!r} is not of the form NAME>=VERSION or NAME>=VERSION,<VERSION")
    return Floor(normalized(match[1]), match[2] or "", match[3])


def floors() -> dict[str, Floor]:
    """Return the lowest versions by name. ValueError if the projects differ: they are tested in one environment."""
    found: dict[str, Floor] = {}
    for project in PROJECTS:
        for one in map(floor, dependencies(project)):
            if found.setdefault(one.name, one).version != one.version:
                raise ValueError(f"{one.name}>={one.version} in {project}, but >={found[one.name].version} elsewhere")
    return found


def pins(file: Path = PINS) -> Iterator[tuple[str, str]]:
    """Return the names and versions that a file of requirements and its includes pin; some are repeated."""
    for line in file.read_text().splitlines():
        text = line.partition("#")[0].strip()
        if text.startswith("-r "):
            yield from pins(file.parent / text.removeprefix("-r "))
        elif text:
            name, _, version = text.partition("==")
            yield normalized(name), version


def requirements() -> list[str]:
    """Return all lines for pip."""
    lowest = floors()
    others = {name: version for name, version in pins() if name not in lowest and name not in TIED}
    others |= {name: lowest[other].version for name, other in SAME_VERSION.items() if other in lowest}
    return [f"{name}{extras}=={version}" for name, extras, version in lowest.values()] + [
        f"{name}=={version}" for name, version in others.items()
    ]


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in requirements())
