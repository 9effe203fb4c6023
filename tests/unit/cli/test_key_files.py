"""Key files of the command line: who can read them, and what is reported about a wrong one."""

from __future__ import annotations

import stat
from pathlib import Path

import click
import pytest

from peatio_ws.auth.keys import load_private_key, private_pem
from peatio_ws.cli.key_files import KEY_FILE, has_key, own_public_key, write_private
from tests.unit.samples import private_key


def test_only_its_owner_can_read_a_private_key(folder: Path) -> None:
    path = folder / "keys" / "private.pem"
    path.parent.mkdir()
    path.write_text("readable by everybody")
    path.chmod(0o644)
    write_private(path, private_key())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert private_pem(load_private_key(path.read_text())) == private_pem(private_key())


def test_key_pair_is_created_once(folder: Path) -> None:
    path = folder / "private.pem"
    assert own_public_key(path) == own_public_key(path)


def test_file_without_a_key_is_not_overwritten(folder: Path) -> None:
    path = folder / "private.pem"
    path.write_text("no key")
    with pytest.raises(click.ClickException, match="move it away"):
        own_public_key(path)
    assert path.read_text() == "no key"


def test_key_is_taken_from_the_environment_or_its_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [has_key(None, "RS256"), has_key("named.pem", "RS256")]
    monkeypatch.setenv("JWT_PRIVATE_KEY", "some text")
    found.append(has_key(None, "RS256"))
    monkeypatch.delenv("JWT_PRIVATE_KEY")
    write_private(folder / KEY_FILE, private_key())
    assert [*found, has_key(None, "RS256")] == [False, True, True, True]


def test_secret_is_taken_from_a_named_file_or_the_gateways_variable(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_private(folder / KEY_FILE, private_key())
    found = [has_key(None, "HS256"), has_key("named", "HS256")]
    monkeypatch.setenv("JWT_PUBLIC_KEY", "some text")
    assert [*found, has_key(None, "HS256")] == [False, True, True]
