"""Keys, key sets and the broker's parts in the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from peatio_ws.auth.keys import ALGORITHMS, public_text
from peatio_ws.config.settings import Settings
from peatio_ws.errors import ConfigurationError
from tests.unit.samples import environment, jwk, jwk_set, private_key, settings


def faults(environ: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_env(environ, at_start=True)
    return [str(fault) for fault in caught.value.faults]


def test_keys_of_a_rotation_come_after_the_single_one() -> None:
    pairs = [private_key(number=number) for number in range(3)]
    single, *more = (public_text(key) for key in pairs)
    keys = Settings.from_env({"JWT_PUBLIC_KEY": single, "JWT_PUBLIC_KEYS": " , ".join(more)}).jwt_keys
    assert list(keys) == [key.public_key() for key in pairs]
    assert Settings.from_env({"JWT_PUBLIC_KEYS": ",".join(more)}).jwt_keys == keys[1:]


@pytest.mark.parametrize("algorithm", sorted(set(ALGORITHMS) - {"HS256"}))
def test_every_algorithm_is_accepted_with_its_key(algorithm: str) -> None:
    text = public_text(private_key(algorithm))
    assert Settings.from_env({"JWT_ALGORITHM": algorithm, "JWT_PUBLIC_KEY": text}).jwt_algorithm == algorithm


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "ES384", "ES512", "EdDSA"])
def test_without_an_algorithm_the_first_key_decides(algorithm: str) -> None:
    first, second = (public_text(private_key(algorithm, number)) for number in range(2))
    assert Settings.from_env({"JWT_PUBLIC_KEY": first}).jwt_algorithm == algorithm
    found = Settings.from_env({"JWT_PUBLIC_KEYS": f"{first},{second}"})
    assert found.jwt_algorithm == algorithm
    assert len(found.jwt_keys) == 2
    assert found.token_rules.algorithm == algorithm


def test_without_an_algorithm_all_keys_have_to_fit_the_first() -> None:
    given = {name: public_text(private_key(name)) for name in ("RS256", "EdDSA")}
    (line,) = faults({"JWT_PUBLIC_KEY": given["EdDSA"], "JWT_PUBLIC_KEYS": given["RS256"]})
    assert line.startswith("JWT_PUBLIC_KEYS is an RSA key of 2048 bits, which JWT_ALGORITHM=EdDSA cannot use")


def test_shared_secret_is_used_only_with_hs256() -> None:
    secret = "0123456789abcdef" * 2
    assert Settings.from_env({"JWT_ALGORITHM": "HS256", "JWT_PUBLIC_KEY": secret}).jwt_keys == (secret.encode(),)
    assert [line.split()[0] for line in faults({"JWT_PUBLIC_KEY": secret})] == ["JWT_PUBLIC_KEY"]


def test_start_is_refused_without_a_key() -> None:
    (fault,) = faults({})
    assert fault.startswith("JWT_PUBLIC_KEY is not set")


SECRET = "correcthorsebattery"


@pytest.mark.parametrize("host", ["a;b", "a b:c", "user@a/b:c", "::1:x"])
def test_fault_of_the_broker_host_names_its_variable(host: str) -> None:
    (line,) = faults(environment(RABBITMQ_HOST=host))
    assert line.startswith("RABBITMQ_HOST")


def test_secrets_of_a_rotation_may_be_written_with_blanks_between() -> None:
    first, second = "0123456789abcdef" * 2, "fedcba9876543210" * 2
    found = Settings.from_env({"JWT_ALGORITHM": "HS256", "JWT_PUBLIC_KEYS": f"{first}, {second}"})
    assert found.jwt_keys == (first.encode(), second.encode())


@pytest.mark.parametrize("url", ["http://issuer/keys", "https://issuer:8443/api/v2/keys?format=jwks"])
def test_key_set_replaces_a_fixed_key(url: str) -> None:
    found = Settings.from_env({"JWT_JWKS_URL": url})
    assert (found.jwt_keys, found.jwks_url, found.jwks_file, found.jwks_refresh) == ((), url, None, 30)
    assert settings(JWT_JWKS_URL=url).jwt_keys == settings().jwt_keys


@pytest.mark.parametrize("seconds", ["0", "0.5", "-1", "nan", "soon", "86401"])
def test_key_set_interval_is_at_least_a_second(seconds: str) -> None:
    (line,) = faults({"JWT_JWKS_URL": "http://issuer", "JWT_JWKS_REFRESH": seconds})
    assert line.startswith("JWT_JWKS_REFRESH")


def key_file(folder: Path, *members: Any) -> str:
    path = folder / "keys.json"
    path.write_bytes(jwk_set(*members))
    return str(path)


def test_key_file_is_checked_before_anything_starts(tmp_path: Path) -> None:
    good = key_file(tmp_path, jwk(private_key(), "a"), jwk(private_key("ES256"), "b"))
    assert str(Settings.from_env({"JWT_JWKS_FILE": good}).jwks_file) == good
    found = faults({"JWT_JWKS_FILE": good, "JWT_ALGORITHM": "ES384", "LOG_LEVEL": "loud"})
    assert [line.split()[0] for line in found] == ["JWT_JWKS_FILE", "LOG_LEVEL=loud:"]
    assert "contains no usable key: key 'a' is an RSA key of 2048 bits" in found[0]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([], "contains no usable key: it is empty"),
        ([{"kty": "oct", "k": SECRET}], "contains keys that must not be published: key 1 is a shared secret"),
        ([jwk(private_key(), "a"), jwk(private_key(), "b", d=SECRET)], "key 'b' is a private key"),
    ],
)
def test_a_file_without_a_key_or_with_a_secret_one_is_a_fault(tmp_path: Path, members: Any, words: str) -> None:
    (line,) = faults(environment(JWT_JWKS_FILE=key_file(tmp_path, *members)))
    assert line.startswith("JWT_JWKS_FILE ")
    assert words in line
    assert SECRET not in line


def test_file_that_is_not_a_key_set_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "page").write_text("<html>")
    for name, words in (("page", "is not JSON"), ("missing", "cannot be read"), (".", "cannot be read")):
        (line,) = faults({"JWT_JWKS_FILE": str(tmp_path / name)})
        assert line.startswith(f"JWT_JWKS_FILE {words}")


def test_worker_can_start_while_the_file_is_rewritten(tmp_path: Path) -> None:
    assert Settings.from_env({"JWT_JWKS_FILE": str(tmp_path / "missing")}).jwks_file == tmp_path / "missing"


def test_key_set_needs_no_fixed_key_or_secret(tmp_path: Path) -> None:
    both = {"JWT_JWKS_URL": "http://issuer", "JWT_JWKS_FILE": key_file(tmp_path, jwk(private_key()))}
    assert faults(both) == ["JWT_JWKS_URL and JWT_JWKS_FILE are both set; set only one of them"]
    (line,) = faults({"JWT_JWKS_URL": "http://issuer", "JWT_ALGORITHM": "HS256"})
    assert line.startswith("JWT_JWKS_URL cannot be used with JWT_ALGORITHM=HS256")
