"""Explains failed TLS connections: text and remedy by the type and codes of an exception, never by its text.

Knows OpenSSL's codes; does not know the server or its protocol.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Final, NamedTuple


class TlsServer(NamedTuple):
    """The settings that configure TLS for a server.

    Attributes:
        url: variable with the server's URL.
        ca: variable with the file of trusted authorities.
        client: variables with the client certificate and its key.
        scheme: scheme of a URL without TLS.
    """

    url: str
    ca: str
    client: str
    scheme: str


BROKER: Final = TlsServer("AMQP_URL", "AMQP_CA_FILE", "AMQP_CERT_FILE and AMQP_KEY_FILE", "amqp")
REDIS: Final = TlsServer("REDIS_URL", "REDIS_CA_FILE", "REDIS_CERT_FILE and REDIS_KEY_FILE", "redis")
GATEWAY: Final = TlsServer("the URL", "SSL_CERT_FILE", "a client certificate", "ws")


class TlsFault(NamedTuple):
    """A fault and its remedy."""

    text: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.text}; {self.remedy}"


def tls_fault(error: BaseException, server: TlsServer = BROKER) -> TlsFault | None:
    """Return the TLS fault behind an exception, even if it was wrapped; None if it is not a TLS fault."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            text, remedy = _CERTIFICATE.get(cause.verify_code, _OTHERWISE)
            return _fault(text, remedy, server, f" ({cause.verify_message}, code {cause.verify_code})")
        # gevent reports a TLS timeout as an SSLError without a reason.
        reason = getattr(cause, "reason", None)
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, _NO_FAULTS) and reason:
            text, remedy = _REASONS.get(reason, _NO_TLS)
            return _fault(text, remedy, server, f" ({reason})")
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and its causes, newest first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _fault(text: str, remedy: str, server: TlsServer, code: str) -> TlsFault:
    names = {**server._asdict(), "code": code}
    return TlsFault(text.format(**names), remedy.format(**names))


_NO_FAULTS: Final = (ssl.SSLZeroReturnError, ssl.SSLWantReadError, ssl.SSLWantWriteError, ssl.SSLEOFError)

_ANOTHER: Final = (
    "the server's certificate is for another host{code}",
    "use a host name or address in {url} that is in the certificate (subjectAltName), or give the server a "
    "certificate for the host in {url}",
)
_SELF_SIGNED: Final = (
    "the server's certificate is self-signed{code}",
    "if this is intended, set {ca} to a file with that certificate",
)
_UNKNOWN: Final = (
    "the server's certificate was issued by an authority that is not trusted{code}",
    "set {ca} to a file with the certificate of that authority",
)
_PARTIAL: Final = (
    "the server's certificate was issued by an authority that is not trusted{code}",
    "set {ca} to a file with the certificate of that authority, and let the server send the intermediate certificates",
)
_CERTIFICATE: Final = {
    # X509_V_ERR_… in openssl/x509_vfy.h, which Python's ssl does not name.
    62: _ANOTHER,  # HOSTNAME_MISMATCH
    64: _ANOTHER,  # IP_ADDRESS_MISMATCH
    10: ("the server's certificate, or one in its chain, has expired{code}", "renew it on the server"),
    9: (
        "the server's certificate is not valid yet{code}",
        "synchronize the clocks of both hosts (NTP), or renew the certificate on the server",
    ),
    18: _SELF_SIGNED,  # DEPTH_ZERO_SELF_SIGNED_CERT
    19: _UNKNOWN,  # SELF_SIGNED_CERT_IN_CHAIN
    2: _PARTIAL,  # UNABLE_TO_GET_ISSUER_CERT
    20: _PARTIAL,  # UNABLE_TO_GET_ISSUER_CERT_LOCALLY
    21: _PARTIAL,  # UNABLE_TO_VERIFY_LEAF_SIGNATURE
    23: ("the server's certificate was revoked{code}", "replace it on the server"),  # CERT_REVOKED
    26: (  # INVALID_PURPOSE
        "the server's certificate is not for servers{code}",
        "replace it by one whose extendedKeyUsage has serverAuth",
    ),
    66: ("the server's key is too small{code}", "replace it by an RSA key of 2048 bits or more, or an EC key"),
}
"""By `verify_code`."""
_OTHERWISE: Final = (
    "the server's certificate is not acceptable{code}",
    "replace it on the server, or correct {ca}",
)

_NO_TLS: Final = (
    "TLS failed{code}",
    "check scheme ({scheme} without TLS, {scheme}s with TLS) and port in {url}",
)
_PLAIN: Final = (
    "the server does not speak TLS on this port{code}",
    "correct the port in {url}, or use {scheme}:// for a server without TLS",
)
_WANTED: Final = ("the server requires a client certificate{code}", "set {client}")
_REFUSED: Final = (
    "the server refuses the client certificate{code}",
    "{client} must be a valid pair for clients (clientAuth), issued by an authority that the server trusts",
)
_VERSION: Final = (
    "the server and this host have no TLS version in common{code}",
    "enable TLS 1.2 or 1.3 on the server",
)
_FILE: Final = (
    "a certificate file cannot be used{code}",
    "check {ca}, {client}; `peatio-ws check` reports the fault",
)
_REASONS: Final = {
    # Faults in files that changed while the gateway was running.
    "NO_CERTIFICATE_OR_CRL_FOUND": _FILE,
    "NO_START_LINE": _FILE,
    "PEM_LIB": _FILE,
    "KEY_VALUES_MISMATCH": _FILE,
    "WRONG_VERSION_NUMBER": _PLAIN,
    "RECORD_LAYER_FAILURE": _PLAIN,  # the same since OpenSSL 3.2
    "UNKNOWN_PROTOCOL": _PLAIN,
    "HTTP_REQUEST": _PLAIN,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _WANTED,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": (
        "the server refuses the handshake{code}",
        "it may require a client certificate ({client}), or there is no common cipher",
    ),
    "TLSV1_ALERT_UNKNOWN_CA": _REFUSED,
    "TLSV1_ALERT_ACCESS_DENIED": _REFUSED,
    "SSLV3_ALERT_BAD_CERTIFICATE": _REFUSED,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": _REFUSED,
    "SSLV3_ALERT_CERTIFICATE_REVOKED": _REFUSED,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _REFUSED,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": _REFUSED,
    "TLSV1_ALERT_PROTOCOL_VERSION": _VERSION,
    "UNSUPPORTED_PROTOCOL": _VERSION,
    "TLSV1_UNRECOGNIZED_NAME": _ANOTHER,
}
"""By `reason`, OpenSSL's name of an error (`strerror` is its text)."""
