"""TLS on the gateway's own port: options of the SSL context, and certificates that are renewed while it serves.

Knows OpenSSL's contexts and PEM files; knows neither gunicorn nor connections.
"""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import gevent
import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from peatio_ws.monitoring import metrics

log = structlog.get_logger("peatio_ws.transport.tls")

LOOK_SECONDS: Final = 5.0
"""How often a worker looks whether the files have changed."""


class Certificate(NamedTuple):
    """The facts about a certificate that the gateway uses.

    Attributes:
        names: the host names and addresses it is valid for.
        begins, ends: when it is valid.
        key_type: the type of its public key; OpenSSL keeps one certificate for each type.
    """

    names: tuple[str, ...]
    begins: datetime.datetime
    ends: datetime.datetime
    key_type: type


def read_certificate(path: str | Path) -> Certificate:
    """Return the first certificate of a PEM file, which is the server's own.

    Raises:
        OSError: the file cannot be read.
        ValueError: it does not hold a certificate that can be understood.
    """
    try:
        found = x509.load_pem_x509_certificates(Path(path).read_bytes())[0]
        key_type = type(found.public_key())
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from None
    try:
        general = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = tuple(str(name.value) for name in general)
    except (x509.ExtensionNotFound, ValueError):
        names = ()
    return Certificate(names, found.not_valid_before_utc, found.not_valid_after_utc, key_type)


def configure(context: ssl.SSLContext, client_chooses: bool = True) -> ssl.SSLContext:
    """Set what Python's default context for servers does not set. Return the same context.

    Python sets the rest: TLS 1.2 and 1.3, session tickets, and buffers that are freed while a connection is idle
    (`SSL_MODE_RELEASE_BUFFERS`).

    Args:
        client_chooses: use the first cipher of the client's list. A client whose processor has AES instructions lists
            AES first, one without them ChaCha20. All ciphers of the default list are good.
    """
    # Since OpenSSL 3.0, renegotiation is off by default. With the option, OpenSSL would not return after each request
    # for it, whatever `tls_records.py` sets.
    if ssl.OPENSSL_VERSION_INFO < (3,):
        context.options |= ssl.OP_NO_RENEGOTIATION
    if client_chooses:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    return context


class ServerTls:
    """The SSL context for new connections. Open connections keep the certificate that they began with.

    gunicorn's master makes it before it forks. A session ticket of one worker is then valid for all of them.

    Args:
        make: returns a new context with the content of the files.
        cert, key: the PEM files. Without a key, `cert` holds both.

    Raises:
        OSError: as `make` does. An SSLError is an OSError.

    Attributes:
        context: for the next handshake.
    """

    def __init__(self, make: Callable[[], ssl.SSLContext], cert: str, key: str | None = None) -> None:
        self._make, self._cert, self._key = make, cert, key or cert
        self._loaded = self._state_of_files()
        self._failed = self._refused = _NOTHING
        self.context = make()
        self._certificate = _certificate_or_none(cert)

    def run(self) -> None:
        """Renew the certificate whenever the files change."""
        while True:
            if self._certificate is not None:
                metrics.certificate_expiry.set(self._certificate.ends.timestamp())
            gevent.sleep(LOOK_SECONDS)
            self.renew()

    def renew(self) -> None:
        """Load the files if they have changed. If they cannot be used, keep the old certificate.

        The two files do not change at the same moment, so a fault counts only if the next call finds the same files.
        """
        found = self._state_of_files()
        if found in (self._loaded, self._refused):
            return
        try:
            self._load()
        except (OSError, ValueError) as error:
            if found == self._failed:
                self._refused = found
                event = "renewed certificate refused; keeping the old one"
                log.error(event, certificate=self._cert, fault=_text(error))
            self._failed = found
        else:
            self._loaded, self._failed = found, _NOTHING
            ends = self._certificate.ends.isoformat() if self._certificate else None
            log.info("certificate renewed", certificate=self._cert, expires=ends)

    def _load(self) -> None:
        if b"ENCRYPTED" in Path(self._key).read_bytes():
            raise ValueError("the key has a passphrase")  # for which OpenSSL would ask on the terminal
        fresh, certificate = self._make(), _certificate_or_none(self._cert)
        if certificate and self._certificate and certificate.key_type is self._certificate.key_type:
            # In the same context, which has the keys of the session tickets.
            self.context.load_cert_chain(self._cert, self._key)
        else:
            # In the old context, a certificate with another type of key would be added to the old one.
            self.context = fresh
        self._certificate = certificate

    def _state_of_files(self) -> tuple[tuple[int, ...], ...]:
        return tuple(_state(path) for path in (self._cert, self._key))


_NOTHING: Final[tuple[tuple[int, ...], ...]] = ()


def _state(path: str) -> tuple[int, ...]:
    """Return numbers that differ once a file was written or replaced; none if there is no file."""
    try:
        found = Path(path).stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _certificate_or_none(path: str) -> Certificate | None:
    try:
        return read_certificate(path)
    except (OSError, ValueError):
        return None


def _text(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        reason = error.reason.replace("_", " ").lower() if error.reason else "an incomplete PEM file"
        return f"OpenSSL reports {reason}"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
