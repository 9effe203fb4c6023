"""Certificates for servers and clients under test: self-signed ones, and an authority that issues any kind."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import sys
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOUR = datetime.timedelta(hours=1)
CLIENT = str(Path(__file__).parent.parent.parent / "clients" / "python" / "src")


def write_key(path: Path, key: Any, passphrase: bytes | None = None) -> Path:
    """Write a private key as PEM."""
    how = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how))
    return path


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _begun(name: str, key: Any, until: datetime.timedelta, since: datetime.timedelta = -HOUR) -> Any:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + since)
        .not_valid_after(now + until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _alternatives(names: tuple[str, ...]) -> x509.SubjectAlternativeName:
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return x509.SubjectAlternativeName(found)


class Certificate:
    """A self-signed certificate of `localhost`, as two PEM files in a folder.

    Attributes:
        cert, key: the files.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.cert, self.key = folder / "cert.pem", folder / "key.pem"
        self.renew()

    @property
    def environ(self) -> dict[str, str]:
        """The variables of a gateway that uses it."""
        return {"WEBSOCKET_SSL_CERT": str(self.cert), "WEBSOCKET_SSL_KEY": str(self.key)}

    def renew(self, key: Any = None, until: datetime.timedelta = HOUR) -> None:
        """Replace it with a new certificate and a new key."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _begun("localhost", key, until)
            .issuer_name(_named("localhost"))
            .add_extension(_alternatives(("localhost",)), critical=False)
            .sign(key, hashes.SHA256())
        )
        self.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        write_key(self.key, key)

    def trusted(self) -> ssl.SSLContext:
        """Return a context for clients that trust this certificate."""
        return ssl.create_default_context(cafile=self.cert)

    def trusted_by_threads(self) -> ssl.SSLContext:
        """Return such a context for clients of `websockets.sync`, which read and write in two threads."""
        sys.path.append(CLIENT)  # where the tests' programs run, it is not installed
        from peatio_client._tls_socket import thread_safe

        return thread_safe(self.trusted())


class Authority:
    """A private certificate authority.

    Attributes:
        cert: its own certificate, which clients trust.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self.cert = folder, folder / "ca.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(f"{folder.name} authority")
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = (
            _begun(f"{folder.name} authority", self._key, 24 * HOUR)
            .issuer_name(self._name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        file: str,
        *names: str,
        key: Any = None,
        since: datetime.timedelta = -HOUR,
        until: datetime.timedelta = HOUR,
        for_client: bool = False,
    ) -> tuple[Path, Path]:
        """Issue a certificate for these host names and addresses, with its key: `<file>.pem`, `<file>-key.pem`."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        purpose = ExtendedKeyUsageOID.CLIENT_AUTH if for_client else ExtendedKeyUsageOID.SERVER_AUTH
        begun = _begun(names[0], key, until, since).issuer_name(self._name)
        if not for_client:
            begun = begun.add_extension(_alternatives(names), critical=False)
        certificate = (
            begun.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        path = self._folder / f"{file}.pem"
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return path, write_key(self._folder / f"{file}-key.pem", key)
