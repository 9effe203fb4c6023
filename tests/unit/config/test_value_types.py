"""Types of settings: how texts become values. `test_settings.py` has values that are refused, of all variables."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from peatio_ws.config import value_types
from peatio_ws.errors import ConfigurationError
from tests.unit.samples import settings


@pytest.mark.parametrize(
    ("theirs", "ours"), [("trace", "debug"), ("warn", "warning"), ("Fatal", "error"), ("PANIC", "error")]
)
def test_log_levels_of_rango_are_accepted(theirs: str, ours: str) -> None:
    assert settings(LOG_LEVEL=theirs).log_level == ours


def test_proxies_are_addresses_and_networks_of_both_kinds() -> None:
    found = settings(TRUSTED_PROXIES="10.0.0.0/8, 192.0.2.7 ,::1,fd00::/8").trusted_proxies
    assert [str(network) for network in found] == ["10.0.0.0/8", "192.0.2.7/32", "::1/128", "fd00::/8"]


def test_faults_name_the_part_that_is_wrong(tmp_path: Path) -> None:
    for kind, text, fault in (
        (value_types.Networks, "10.0.0.0/8,proxy", "contains proxy, which is not a network like 10.0.0.0/8"),
        (value_types.Origins, "a.example,b-*.example", "contains b-*.example, but * must be the whole entry"),
        (value_types.ReadableFile, str(tmp_path), f"cannot be read: Is a directory: {tmp_path}"[:60]),
    ):
        with pytest.raises(ValidationError) as wrong:
            TypeAdapter(kind).validate_python(text)
        assert fault in str(wrong.value)


@pytest.mark.parametrize("token", ["too-short-secret", "secret " * 8, "sécret-" * 8, "secret\t" * 8])
def test_weak_admin_token_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        settings(ADMIN_TOKEN=token)
    assert str(wrong.value).startswith("ADMIN_TOKEN has to be at least 32 ASCII characters without spaces")
    assert "cret" not in str(wrong.value)


def test_admin_token_is_not_part_of_any_text() -> None:
    token = "0123456789abcdef" * 2
    found = settings(ADMIN_TOKEN=token).admin_token
    assert found is not None
    assert found.get_secret_value() == token
    assert token not in f"{found} {found!r}"
