"""The versions that `pyproject.toml` allows: `make test-floors` uses the lowest, `make test` the pinned ones."""

from __future__ import annotations

import ast
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.programs import floors
from tests.programs.floors import PROJECTS, ROOT, normalized

PINNED = dict(floors.pins()) | dict(floors.pins(ROOT / "requirements.txt"))
"""What is served, and what the tests need: the dependencies of extras among it."""
CODE = {PROJECTS[0]: ROOT / "peatio_ws", PROJECTS[1]: ROOT / "clients" / "python" / "src" / "peatio_client"}
DEPENDENCIES = [(project, line) for project in PROJECTS for line in floors.dependencies(project)]


def shown(value: object) -> str:
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else str(value)


@pytest.mark.parametrize(("project", "dependency"), DEPENDENCIES, ids=shown)
def test_the_pinned_version_and_the_floor_are_in_the_range(project: Path, dependency: str) -> None:
    requirement = Requirement(dependency)
    assert requirement.specifier.contains(PINNED[normalized(requirement.name)]), "another version is pinned"
    assert requirement.specifier.contains(floors.floor(dependency).version)


def test_each_dependency_is_installed_once_at_its_floor_or_its_pin() -> None:
    names = [normalized(Requirement(line).name) for line in floors.requirements()]
    assert len(names) == len(set(names))
    assert set(names) == {name for name, _ in floors.pins()} - floors.TIED
    for dependency in (line for _, line in DEPENDENCIES):
        name, extras, version = floors.floor(dependency)
        assert f"{name}{extras}=={version}" in floors.requirements()


@pytest.mark.parametrize("python", ["3.11.0", "3.11.9", "3.12.0", "3.13.0", "3.14.0"])
def test_each_package_that_the_served_ones_bring_along_is_pinned(python: str) -> None:
    environment = {"python_full_version": python, "python_version": python.rpartition(".")[0]}
    served = dict(floors.pins(ROOT / "requirements.txt"))
    everywhere = [name for name, version in served.items() if ";" not in version]
    for name in everywhere:
        for line in requires(name) or []:
            needed = Requirement(line)
            if not needed.marker or needed.marker.evaluate({**environment, "extra": ""}):
                assert normalized(needed.name) in served, f"{name} needs {line}"


@pytest.mark.parametrize("project", PROJECTS, ids=shown)
def test_each_library_that_is_imported_is_a_dependency(project: Path) -> None:
    """A dependency of a dependency has no range here, and its oldest version would not be tested."""
    named = {floors.floor(line).name for line in floors.dependencies(project)}
    distributions = packages_distributions()
    for path in CODE[project].rglob("*.py"):
        for library in libraries(path) - sys.stdlib_module_names - {CODE[project].name}:
            assert named & set(map(normalized, distributions[library])), f"{path.name} imports {library}"


def libraries(path: Path) -> set[str]:
    """Return the top-level names of all modules that a file imports."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append(node.module)
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize(
    ("dependency", "floor"),
    [
        ("click>=8.2", ("click", "", "8.2")),
        ("gunicorn[gevent]>=25.0.1", ("gunicorn", "[gevent]", "25.0.1")),
        ("Prometheus_Client>=0.22,<1", ("prometheus-client", "", "0.22")),
    ],
)
def test_a_dependency_has_a_floor(dependency: str, floor: tuple[str, str, str]) -> None:
    assert floors.floor(dependency) == floor


@pytest.mark.parametrize("dependency", ["click", "click<9", "click==8.2", "click>8.2", "click>=8.2; extra=='x'"])
def test_a_dependency_without_a_floor_is_a_fault(dependency: str) -> None:
    with pytest.raises(ValueError, match="is not of the form"):
        floors.floor(dependency)


def test_two_projects_have_to_agree(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    projects = [tmp_path / "a.toml", tmp_path / "b.toml"]
    for project, version in zip(projects, ("16", "17"), strict=True):
        project.write_text(f'[project]\ndependencies = ["websockets>={version}"]\n')
    monkeypatch.setattr(floors, "PROJECTS", projects)
    with pytest.raises(ValueError, match=r"websockets>=17 in .*b\.toml, but >=16 elsewhere"):
        floors.floors()
