"""Findings about settings, keys, tokens and the machine."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.auth.jwks import parse_key_set
from peatio_ws.auth.revocations import Revocation, Revocations
from peatio_ws.auth.verifier import Verifier
from peatio_ws.cli.check import report
from peatio_ws.cli.check.report import Finding
from peatio_ws.errors import ConfigurationError, Fault
from tests.unit.samples import NOW, claims, jwk, jwk_set, private_key, settings, sign


def token(text: str, **environ: str) -> Finding:
    found = settings(**environ)
    return report.token(Verifier(found.token_rules), found, text, NOW, Revocations())


def test_a_fault_whose_text_says_what_to_do_has_no_remedy() -> None:
    with pytest.raises(ConfigurationError) as failed:
        settings(LOG_LEVEL="loud")
    (found,) = map(report.faulty, failed.value.faults)
    assert (found.text, found.remedy) == ("LOG_LEVEL=loud: has to be 'debug', 'info', 'warning' or 'error'", "")
    assert report.faulty(Fault("X is wrong", remedy="correct it")).remedy == "correct it"


def test_valid_token_is_shown_with_member_and_expiry() -> None:
    found = token(f" Bearer {sign(claims(member_id=7, role='admin'))}\n")
    assert found.ok
    assert found.text == (
        "is valid for uid ID1, member id 7, role admin, until 2023-11-14 22:14:20 UTC, 0:01:00 from now"
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"exp": NOW - 86_400}, "expired (2023-11-13 22:13:20 UTC, 1 day, 0:00:00 ago)"),
        ({"iat": NOW + 60}, "2023-11-14 22:14:20 UTC, 0:01:00 from now)"),
        ({"nbf": NOW + 60}, "2023-11-14 22:14:20 UTC, 0:01:00 from now)"),
        ({"exp": "soon"}, "exp is not a number of seconds"),
        ({"exp": -1e14}, "expired (-1"),
        ({"state": "a\nb"}, "state is not active (it is a…)"),
    ],
)
def test_cause_of_a_refused_token_is_reported(changed: Any, said: str) -> None:
    found = token(sign(claims(**changed)))
    assert found.ok is False
    assert said in found.text
    assert found.remedy


@pytest.mark.parametrize("name", ["exp", "iat", "jti", "sub", "uid"])
def test_missing_claim_of_a_token_is_reported(name: str) -> None:
    found = token(sign(claims(without=(name,))))
    assert f"claim {name} is missing" in found.text
    assert "has to correct it" in found.remedy


@given(st.text() | st.binary().map(repr))
def test_any_text_yields_one_line_with_a_remedy(text: str) -> None:
    found = token(text)
    assert found.ok is False
    assert len(found.text.splitlines()) == 1
    assert found.remedy


@pytest.mark.parametrize(
    ("revocation", "ok"),
    [
        (Revocation("ID1", NOW + 60, issued=NOW), False),
        (Revocation("ID1", NOW + 60, jti=claims()["jti"]), False),
        (Revocation("ID1", NOW + 60, jti="another"), True),
        (Revocation("ID2", NOW + 60, issued=NOW), True),
        (Revocation("ID1", NOW + 60, issued=NOW - 3600), True),
    ],
)
def test_revoked_token_is_wrong(revocation: Revocation, ok: bool) -> None:
    revocations, found = Revocations(), settings()
    revocations.add(revocation, NOW)
    finding = report.token(Verifier(found.token_rules), found, sign(claims()), NOW, revocations)
    assert finding.ok is ok
    assert ok is ("revoked" not in finding.text)
    assert ok or "log in again" in finding.remedy


def test_revocation_is_unknown_without_redis() -> None:
    found = settings()
    finding = report.token(Verifier(found.token_rules), found, sign(claims()), NOW, None)
    assert finding.ok
    assert "it is not known whether it was revoked" in finding.text


def test_other_keys_in_a_set_are_wrong_only_if_secret() -> None:
    members = [
        jwk(private_key(), "ours"),
        jwk(private_key("ES256"), "of another algorithm"),
        {"kid": "secret", "kty": "oct", "k": "AAAA"},
        jwk(private_key(number=1), "private", d="AAAA"),
    ]
    found = report.published_keys("JWT_JWKS_URL=x", parse_key_set(jwk_set(*members), "RS256"))
    assert [finding.ok for finding in found] == [True, None, False, False]
    assert all(finding.remedy for finding in found if finding.ok is False)


def test_kid_named_private_key_is_not_an_exposed_key() -> None:
    found = report.published_keys("x", parse_key_set(jwk_set(jwk(private_key("ES256"), "x is a private key")), "RS256"))
    assert [finding.ok for finding in found] == [None, False]  # fails if there is another finding


@pytest.mark.parametrize(("difference", "ok"), [(0.0, True), (1.9, True), (-1.9, True), (3.0, False), (-3.0, False)])
def test_small_clock_difference_is_allowed(difference: float, ok: bool) -> None:
    found = report.clock(difference)
    assert found.ok is ok
    assert ok or ("behind" if difference > 0 else "ahead") in found.text


@pytest.mark.parametrize(
    ("begins", "ends", "ok", "text"),
    [
        (NOW - 60, NOW + 86_400, True, "valid until 2023-11-15 22:13:20 UTC, 1 day, 0:00:00 from now"),
        (NOW - 60, NOW, False, "has expired: 2023-11-14 22:13:20 UTC, 0:00:00 ago"),
        (NOW + 60, NOW + 86_400, False, "not valid before 2023-11-14 22:14:20 UTC, 0:01:00 from now"),
    ],
)
def test_a_certificate_is_shown_with_its_names_and_dates(begins: float, ends: float, ok: bool, text: str) -> None:
    found = report.certificate(("ws.example.com", "10.0.0.1"), begins, ends, NOW)
    assert (found.ok, bool(found.remedy)) == (ok, not ok)
    assert found.text == f"for ws.example.com, 10.0.0.1, {text}"
    assert report.certificate((), begins, ends, NOW).text.startswith("without a host name, ")


@pytest.mark.parametrize(
    ("hard", "host", "remedy"),
    [
        (10_300, None, ""),
        (10_299, 2**63, "`ulimit -n 10300` as root before"),
        (4096, None, "WEBSOCKET_MAX_CONNECTIONS=3796"),
        (20_000, 41_199, "sysctl fs.file-max=82400"),
        (20_000, 41_200, ""),
    ],
)
def test_open_files_of_the_worker_and_the_system_are_checked(hard: int, host: int | None, remedy: str) -> None:
    found = report.files(settings(WEB_CONCURRENCY="4"), hard, host)
    assert found.ok is (not remedy)
    assert remedy in found.remedy
