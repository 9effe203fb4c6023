"""`token`: claims, times and the key that signs."""

from __future__ import annotations

import time
from pathlib import Path

import jwt
import pytest
from click.testing import Result

from peatio_ws.auth.keys import private_pem, public_text
from peatio_ws.auth.verifier import Verifier
from peatio_ws.config.settings import Settings
from peatio_ws.simulator import simulation
from tests.unit.cli.calling import call, fails
from tests.unit.samples import private_key


def printed(result: Result) -> dict[str, str]:
    """Return the variables that `keygen` prints."""
    assert result.exit_code == 0, result.output
    return dict(line.split("=", 1) for line in result.stdout.splitlines())


def claims_of(result: Result) -> dict[str, object]:
    assert result.exit_code == 0, result.output
    claims: dict[str, object] = jwt.decode(result.stdout.strip(), options={"verify_signature": False})
    return claims


@pytest.mark.parametrize("algorithm", ["RS256", "PS512", "ES384", "EdDSA"])
def test_gateway_accepts_the_token(algorithm: str) -> None:
    gateway = Settings.from_env(printed(call(f"keygen --algorithm {algorithm}")))
    made = call(f"token --algorithm {algorithm} --uid ID7 --member-id 7 --role admin").stdout.strip()
    identity = Verifier(gateway.token_rules).verify(made, time.time())
    assert (identity.uid, identity.member_id, identity.role) == ("ID7", 7, "admin")


def test_token_has_the_configured_audience_and_issuer() -> None:
    both = {"JWT_AUDIENCE": "peatio,barong", "JWT_ISSUER": "barong"}
    gateway = Settings.from_env({**printed(call("keygen")), **both})
    made = call("token", **both).stdout.strip()
    assert Verifier(gateway.token_rules).verify(made, time.time()).uid == simulation.MEMBER


def test_any_claim_can_be_given_as_json_or_text() -> None:
    call("keygen")
    shown = claims_of(call("token --claim state=banned --claim level=3 --claim a=b=c --claim list=[1,2] --claim sub=x"))
    assert (shown["state"], shown["level"], shown["a"], shown["list"], shown["sub"]) == (
        "banned",
        3,
        "b=c",
        [1, 2],
        "x",
    )


def test_token_has_the_given_lifetime() -> None:
    call("keygen")
    shown = claims_of(call("token --expires -60"))
    assert int(str(shown["exp"])) - int(str(shown["iat"])) == -60


def test_key_is_a_named_file_or_from_the_environment_or_local(folder: Path) -> None:
    for number, name in enumerate(["named", "variable", "made"]):
        (folder / name).write_bytes(private_pem(private_key(number=number)))
    (folder / ".run").mkdir()
    (folder / "made").rename(folder / ".run" / "private.pem")
    variable = (folder / "variable").read_text()
    for line, environ, number in (
        ("token --key named", {"JWT_PRIVATE_KEY": variable}, 0),
        ("token", {"JWT_PRIVATE_KEY": variable}, 1),
        ("token", {}, 2),
    ):
        gateway = Settings.from_env({"JWT_PUBLIC_KEY": public_text(private_key(number=number))})
        assert Verifier(gateway.token_rules).verify(call(line, **environ).stdout.strip(), time.time())


def test_missing_key_is_answered_with_where_it_is() -> None:
    assert "change to the folder of `run`, which makes it" in fails("token")


@pytest.mark.parametrize("content", [b"", b"junk", b"\xff\xfe", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END"])
def test_file_without_a_key_is_reported(folder: Path, content: bytes) -> None:
    (folder / "key").write_bytes(content)
    fails("token --key key")
    fails("token --key .")
    fails("token --key missing")


SECRET = "a secret that the application and the gateway share"


@pytest.mark.parametrize("line", ["token", "token --key secret"])
def test_gateway_accepts_a_token_signed_with_its_secret(folder: Path, line: str) -> None:
    shared = {"JWT_ALGORITHM": "HS256", "JWT_PUBLIC_KEY": SECRET}
    (folder / "secret").write_text(f"{SECRET}\n")
    environ = {"JWT_ALGORITHM": "HS256"} if "--key" in line else shared
    made = call(f"{line} --uid ID7", **environ).stdout.strip()
    assert Verifier(Settings.from_env(shared).token_rules).verify(made, time.time()).uid == "ID7"


def test_missing_secret_is_reported() -> None:
    call("keygen")
    assert "JWT_PUBLIC_KEY" in fails("token --algorithm HS256")


def test_public_key_is_no_secret() -> None:
    public = printed(call("keygen"))["JWT_PUBLIC_KEY"]
    failed = call("token --algorithm HS256", JWT_PUBLIC_KEY=public)
    assert failed.exit_code == 1
    assert "HS256 needs a secret" in failed.output


def test_unknown_algorithm_is_reported() -> None:
    failed = call("token --algorithm none")
    assert failed.exit_code == 2
    assert "none" in failed.output


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
def test_key_that_does_not_fit_the_algorithm_is_reported(algorithm: str) -> None:
    call("keygen --algorithm RS256")
    assert algorithm in fails(f"token --algorithm {algorithm}")
