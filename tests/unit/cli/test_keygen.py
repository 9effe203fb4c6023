"""`keygen`: the key pair, its file, and the file's permissions."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import Result

from peatio_ws.auth.keys import ALGORITHMS, load_private_key
from peatio_ws.config.settings import Settings
from tests.unit.cli.calling import call, fails


def printed(result: Result) -> dict[str, str]:
    """Return the variables that `keygen` prints."""
    assert result.exit_code == 0, result.output
    return dict(line.split("=", 1) for line in result.stdout.splitlines())


@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name != "HS256"])
def test_gateway_accepts_the_key_pair(algorithm: str, folder: Path) -> None:
    found = Settings.from_env(printed(call(f"keygen --algorithm {algorithm}")))
    private = load_private_key((folder / ".run" / "private.pem").read_text())
    assert found.jwt_algorithm == algorithm
    assert found.jwt_keys == (private.public_key(),)


def test_private_key_is_readable_by_its_owner_only(folder: Path) -> None:
    call("keygen --directory there")
    assert (folder / "there" / "private.pem").stat().st_mode & 0o777 == 0o600


def test_a_private_key_is_not_printed(folder: Path) -> None:
    output = call("keygen").output
    assert not [line for line in (folder / ".run" / "private.pem").read_text().splitlines() if line in output]


def test_existing_key_is_overwritten_only_with_force(folder: Path) -> None:
    call("keygen")
    path = folder / ".run" / "private.pem"
    before = path.read_text()
    assert "--force" in fails("keygen")
    assert path.read_text() == before
    assert call("keygen --force").exit_code == 0
    assert path.read_text() != before


def test_overwritten_key_is_readable_by_its_owner_only(folder: Path) -> None:
    call("keygen")
    path = folder / ".run" / "private.pem"
    path.chmod(0o644)
    call("keygen --force")
    assert path.stat().st_mode & 0o777 == 0o600
