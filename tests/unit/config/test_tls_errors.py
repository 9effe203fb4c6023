"""Texts for failed TLS connections, chosen by the exception's codes, not by its text."""

from __future__ import annotations

import ssl

import pytest
import redis

from peatio_ws.config.tls_errors import BROKER, GATEWAY, REDIS, tls_fault


def unverified(code: int) -> ssl.SSLCertVerificationError:
    """Return OpenSSL's error for a refused certificate, with a meaningless text."""
    error = ssl.SSLCertVerificationError(1, "a text")
    error.verify_code, error.verify_message = code, "a message"
    return error


def failed(reason: str | None) -> ssl.SSLError:
    error = ssl.SSLError(1, "a text")
    error.reason = reason  # type: ignore[assignment]
    return error


@pytest.mark.parametrize(
    ("error", "text", "remedy"),
    [
        (unverified(62), "for another host (a message, code 62)", "AMQP_URL"),
        (unverified(64), "for another host", "AMQP_URL"),
        (unverified(10), "expired", "renew"),
        (unverified(9), "not valid yet", "NTP"),
        (unverified(18), "self-signed", "AMQP_CA_FILE"),
        (unverified(19), "not trusted", "AMQP_CA_FILE"),
        (unverified(20), "not trusted", "intermediate"),
        (unverified(26), "not for servers", "serverAuth"),
        (unverified(999), "not acceptable (a message, code 999)", "AMQP_CA_FILE"),
        (failed("WRONG_VERSION_NUMBER"), "does not speak TLS", "use amqp://"),
        (
            failed("TLSV13_ALERT_CERTIFICATE_REQUIRED"),
            "requires a client certificate",
            "AMQP_CERT_FILE and AMQP_KEY_FILE",
        ),
        (failed("TLSV1_ALERT_UNKNOWN_CA"), "refuses the client certificate", "clientAuth"),
        (failed("PEM_LIB"), "certificate file cannot be used", "check"),
        (failed("SOMETHING_NEW"), "TLS failed (SOMETHING_NEW)", "amqps with TLS"),
    ],
)
def test_each_fault_has_a_text_and_a_remedy(error: Exception, text: str, remedy: str) -> None:
    found = tls_fault(error)
    assert found is not None
    assert text in found.text
    assert remedy in found.remedy
    assert str(found) == f"{found.text}; {found.remedy}"


@pytest.mark.parametrize(
    "error",
    [
        OSError("certificate verify failed: SSL"),
        TimeoutError("SSL handshake timed out"),
        failed(None),
        ssl.SSLEOFError(8, "EOF occurred"),
        ssl.SSLWantReadError(2, "not complete"),
        ConnectionResetError(),
    ],
)
def test_other_errors_are_not_tls_faults(error: Exception) -> None:
    assert tls_fault(error) is None


def test_a_fault_is_found_behind_the_exception_that_wraps_it() -> None:
    for wrap in (raised_in_handling, raised_from):
        found = tls_fault(wrap(unverified(62)), REDIS)
        assert found is not None
        assert "REDIS_URL" in found.remedy


def raised_in_handling(error: Exception) -> Exception:
    """Raise while another exception is handled, as redis-py does."""
    try:
        try:
            raise error
        except OSError:
            raise redis.ConnectionError("a text")  # noqa: B904
    except redis.ConnectionError as wrapped:
        return wrapped


def raised_from(error: Exception) -> Exception:
    wrapped = redis.ConnectionError("a text")
    wrapped.__cause__ = error
    return wrapped


def test_circular_causes_do_not_loop() -> None:
    one, two = OSError(), OSError()
    one.__cause__, two.__cause__ = two, one
    assert tls_fault(one) is None


def test_each_server_has_its_own_variables() -> None:
    for server, name in ((BROKER, "AMQP_CA_FILE"), (REDIS, "REDIS_CA_FILE"), (GATEWAY, "SSL_CERT_FILE")):
        found = tls_fault(unverified(18), server)
        assert found is not None
        assert name in found.remedy
