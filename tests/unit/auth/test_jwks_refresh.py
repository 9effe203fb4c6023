"""Refreshing keys from a URL or a file: what changes the key ring, what does not, and what is logged."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
import structlog
from structlog.testing import capture_logs

from peatio_ws.auth import jwks_refresh
from peatio_ws.auth.jwks import MOST_BYTES
from peatio_ws.auth.jwks_refresh import JwksRefresh
from peatio_ws.auth.verifier import Verifier
from peatio_ws.config.settings import Settings
from tests.support.issuer import Issuer, issuing
from tests.support.servers import free_port
from tests.unit.config.test_settings import certificate
from tests.unit.samples import environment, jwk, jwk_set, private_key, settings

FIRST, SECOND = (jwk(private_key(number=number), kid) for number, kid in enumerate(["first", "second"]))


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing(jwk_set(FIRST)) as issuer:
        yield issuer


@pytest.fixture(autouse=True)
def _logs_are_seen() -> Iterator[None]:
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


class Source:
    """A source with its verifier."""

    def __init__(self, **environ: str) -> None:
        found = Settings.from_env(environ)
        self.verifier = Verifier(found.token_rules)
        self.source = JwksRefresh(found.token_rules, self.verifier)

    def refresh(self) -> list[str | None]:
        """Refresh the keys. Return their key ids."""
        self.source.refresh()
        return [named.kid for named in self.verifier.ring.published]

    def refresh_and_log(self) -> list[Any]:
        with capture_logs() as lines:
            self.refresh()
        return [line for line in lines if line["log_level"] != "info"]


def test_key_ring_follows_the_set(issuer: Issuer) -> None:
    source = Source(JWT_JWKS_URL=issuer.url)
    assert source.refresh() == ["first"]
    issuer.body = jwk_set(FIRST, SECOND)
    assert source.refresh() == ["first", "second"]
    issuer.body = jwk_set(SECOND)
    assert source.refresh() == ["second"]


def test_fixed_keys_stay_when_the_set_changes(issuer: Issuer) -> None:
    source = Source(**environment(JWT_JWKS_URL=issuer.url))
    source.refresh()
    assert source.verifier.ring.fixed == (private_key().public_key(),)


def misbehave(**how: Any) -> Callable[[Issuer], None]:
    def start(issuer: Issuer) -> None:
        for name, value in how.items():
            setattr(issuer, name, value)

    return start


FAULTS: dict[str, tuple[Callable[[Issuer], None], str]] = {
    "an error": (misbehave(status=503), "HTTP 503"),
    "a page": (misbehave(body=b"<html>"), "is not JSON"),
    "another object": (misbehave(body=b'{"error":"x"}'), "is not a JWK set"),
    "too much": (misbehave(body=b" " * (MOST_BYTES + 1)), "larger than"),
    "nothing": (misbehave(body=b""), "is not JSON"),
    "no answer": (misbehave(held=True), "no answer|timed out"),
    "not listening": (lambda issuer: issuer.close(), "Connection refused"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_failure_is_logged_once_and_the_last_keys_stay(
    issuer: Issuer, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source(JWT_JWKS_URL=issuer.url)
    source.refresh()
    start, words = FAULTS[fault]
    start(issuer)
    if issuer.held:
        monkeypatch.setattr(jwks_refresh, "FETCH_SECONDS", 0.2)
    (line,) = source.refresh_and_log()
    assert line["event"] == "published keys cannot be read; keeping the last ones"
    assert any(word in line["error"] for word in words.split("|")), line
    assert source.refresh_and_log() == []
    assert source.refresh() == ["first"]
    assert source.source.problems() == []


def test_recovery_and_later_failures_are_logged(issuer: Issuer) -> None:
    source = Source(JWT_JWKS_URL=issuer.url)
    issuer.status = 500
    assert source.refresh_and_log()
    issuer.status = 200
    with capture_logs() as lines:
        source.refresh()
    assert "published keys can be read again" in [line["event"] for line in lines]
    issuer.status = 500
    assert source.refresh_and_log()


def test_missing_keys_are_reported_as_a_problem(issuer: Issuer) -> None:
    source = Source(JWT_JWKS_URL=f"http://127.0.0.1:{free_port()}/keys?secret=x")
    (problem,) = source.source.problems()
    assert "not read yet" in problem
    source.refresh()
    (problem,) = source.source.problems()
    assert "JWT_JWKS_URL=http://127.0.0.1" in problem
    assert "Connection refused" in problem
    assert "secret" not in problem
    assert Source(**environment(JWT_JWKS_URL=issuer.url)).source.problems() == []
    assert JwksRefresh(settings().token_rules, Verifier(settings().token_rules)).problems() == []


def test_empty_key_set_is_used_and_logged_once(issuer: Issuer) -> None:
    source = Source(JWT_JWKS_URL=issuer.url)
    source.refresh()
    issuer.body = jwk_set()
    (line,) = source.refresh_and_log()
    assert line["event"].startswith("no published key is usable")
    assert source.refresh() == []
    assert source.refresh_and_log() == []
    assert "contains no usable key" in source.source.problems()[0]


def test_ignored_keys_are_logged_when_they_change(issuer: Issuer) -> None:
    issuer.body = jwk_set(FIRST, {"kty": "oct", "k": "AAAA", "kid": "shared"})
    source = Source(JWT_JWKS_URL=issuer.url)
    (line,) = source.refresh_and_log()
    assert "shared secret" in line["reason"]
    assert source.refresh_and_log() == []
    issuer.body = jwk_set(FIRST)
    assert source.refresh_and_log() == []


@pytest.mark.parametrize("to", ["http://127.0.0.1:1/", "ftp://127.0.0.1/", "file:///etc/hostname"])
def test_redirects_are_not_followed(issuer: Issuer, to: str) -> None:
    issuer.status, issuer.headers = 302, {"Location": to}
    (line,) = Source(JWT_JWKS_URL=issuer.url).refresh_and_log()
    assert "HTTP 302; redirects are not followed" in line["error"]


def test_issuer_with_an_untrusted_certificate_is_refused(tmp_path: Path) -> None:
    key, cert = certificate(tmp_path, 0)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    with issuing(jwk_set(FIRST), tls) as issuer:
        source = Source(JWT_JWKS_URL=issuer.url)
        (line,) = source.refresh_and_log()
        assert "certificate verify failed" in line["error"]
        assert source.refresh() == []


def test_file_is_read_again_however_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(jwk_set(FIRST))
    source = Source(JWT_JWKS_FILE=str(path))
    assert source.refresh() == ["first"]
    other = tmp_path / "other.json"
    other.write_bytes(jwk_set(SECOND))
    other.replace(path)
    assert source.refresh() == ["second"]
    path.unlink()
    (line,) = source.refresh_and_log()
    assert line["error"] == "No such file or directory"
    assert source.refresh() == ["second"]
    path.write_bytes(jwk_set(FIRST))
    assert source.refresh() == ["first"]


def test_wait_returns_with_the_first_keys_and_refresh_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks_refresh, "FILE_SECONDS", 0.01)
    path = tmp_path / "keys.json"
    path.write_bytes(jwk_set(FIRST))
    source = Source(JWT_JWKS_FILE=str(path))
    loop = gevent.spawn(source.source.run)
    try:
        source.source.wait()
        assert source.verifier.ring.published
        path.write_bytes(jwk_set(SECOND))
        with gevent.Timeout(30):
            while source.verifier.ring.published[0].kid != "second":
                gevent.sleep(0.01)
    finally:
        loop.kill()


def test_without_published_keys_nothing_runs() -> None:
    source = JwksRefresh(settings().token_rules, Verifier(settings().token_rules))
    source.run()
    source.wait()


def test_token_with_unknown_key_may_be_retried_if_the_set_is_unread(issuer: Issuer) -> None:
    source = Source(JWT_JWKS_URL=issuer.url)
    assert source.source.retry_after() == 1, "the set has not been read yet"
    source.refresh()
    assert source.source.retry_after() == 0, "the set has just been read and does not contain the key"
    issuer.status = 503
    source.refresh()
    assert source.source.retry_after() >= 1, "the issuer is unreachable"
    issuer.status, issuer.body = 200, jwk_set()
    source.refresh()
    assert source.source.retry_after() >= 1, "the set has no keys"
    assert JwksRefresh(settings().token_rules, Verifier(settings().token_rules)).retry_after() == 0, (
        "without published keys no key can appear later"
    )


def test_missing_key_makes_the_set_be_read_at_once(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(JWT_JWKS_URL=issuer.url, JWT_JWKS_REFRESH="86400")
    loop = gevent.spawn(source.source.run)
    try:
        source.source.wait()
        assert source.source.retry_after() == 0
        monkeypatch.setattr(jwks_refresh, "FRESH_SECONDS", 0)
        issuer.body = jwk_set(FIRST, SECOND)
        assert source.source.retry_after() == 1
        with gevent.Timeout(30):
            while len(source.verifier.ring.published) < 2:
                gevent.sleep(0.01)
        assert issuer.requests == 2
    finally:
        loop.kill()
