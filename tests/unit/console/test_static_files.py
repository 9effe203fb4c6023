"""Files of pages, and the policy that they are served with."""

from __future__ import annotations

from pathlib import Path

import pytest

from peatio_ws.console import static_files


def test_shared_files_exist_and_have_their_types() -> None:
    kinds = {name: static_files.read(static_files.SHARED / name).kind for name in ("base.css", "icon.svg")}
    assert kinds == {"base.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"}


def test_file_of_another_kind_is_not_served(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(KeyError):
        static_files.read(tmp_path / "notes.txt")


def test_policy_allows_nothing_but_the_own_host() -> None:
    name, value = static_files.policy()
    sources = dict(part.strip().split(" ", 1) for part in value.split(";"))
    assert name == "Content-Security-Policy"
    assert sources.pop("default-src") == sources.pop("base-uri") == "'none'"
    assert sources.pop("form-action") == sources.pop("frame-ancestors") == "'none'"
    assert set(sources.values()) == {"'self'"}
