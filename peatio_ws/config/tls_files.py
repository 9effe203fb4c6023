"""Certificate files for TLS to the broker and Redis: adds them to URLs, and finds faults in them.

Files are query parameters of a URL, with RabbitMQ's names for a broker
(https://www.rabbitmq.com/docs/uri-query-parameters) and redis-py's names for Redis. The variables (AMQP_CA_FILE and so
on) are added to each URL that does not name its own file. Knows files; opens no connection.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlencode

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from peatio_ws.config.validation_errors import shown
from peatio_ws.errors import Fault


class TlsFiles(NamedTuple):
    """Paths of PEM files.

    Attributes:
        ca: trusted authorities; None for those of the system.
        cert, key: the client certificate with its chain, and its private key; both or neither.
    """

    ca: str | None = None
    cert: str | None = None
    key: str | None = None


class _Kind(NamedTuple):
    """A kind of server.

    Attributes:
        schemes: beginnings of URLs with TLS.
        example: an example of such a URL.
        parameters: parameters of URLs, in the order of `TlsFiles`.
    """

    schemes: tuple[str, ...]
    example: str
    parameters: tuple[str, str, str]


BROKER_PARAMETERS: Final = ("cacertfile", "certfile", "keyfile")
"""RabbitMQ's names of the files, in the order of `TlsFiles`."""
REDIS_PARAMETERS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
"""redis-py's names of the files, in the order of `TlsFiles`."""
_KINDS: Final = {
    "AMQP": _Kind(("amqps:",), "amqps://user:password@host:5671/vhost", BROKER_PARAMETERS),
    "REDIS": _Kind(("rediss:", "rediss+sentinel:"), "rediss://host:6379/0", REDIS_PARAMETERS),
}
_FILES: Final = ("CA_FILE", "CERT_FILE", "KEY_FILE")
SERVER_NAME: Final = "server_name_indication"
"""Parameter of a broker's URL: the name in the broker's certificate, if it differs from the URL's host."""


def split(url: str) -> tuple[str, dict[str, str]]:
    """Return a URL without its query, and the parameters of the query."""
    bare, _, query = url.partition("?")
    return bare, dict(parse_qsl(query, keep_blank_values=True))


def check_parameters(scheme: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Raise ValueError if a URL of this scheme has a parameter that is not known."""
    if unknown := sorted(set(given) - set(known)):
        names = ", ".join(known)
        raise ValueError(f"has the parameter {shown(unknown[0])}, which is unknown; known for {scheme}:// are {names}")


def files_of(parameters: Mapping[str, str]) -> TlsFiles:
    """Return the files that the parameters of a broker's URL name."""
    return TlsFiles(*(parameters.get(name) for name in BROKER_PARAMETERS))


def parameter_fault(url: str) -> str | None:
    """Return the fault in the parameters of a broker's URL; None if there is none."""
    secure, (_, given) = url.startswith("amqps:"), split(url)
    for name, value in given.items():
        if name == "verify" and secure:
            if value != "verify_peer":
                return "has verify=verify_none, which is not supported: the broker's certificate is always verified"
        elif name in (*BROKER_PARAMETERS, SERVER_NAME):
            if not secure:
                return f"has {name}=, which needs TLS: the URL has to begin with amqps://"
        else:
            known = ", ".join((*BROKER_PARAMETERS, SERVER_NAME))
            return f"has the parameter {shown(name)}, which is unknown; known for amqps:// are {known}"
    return None


def extended(values: Mapping[str, str]) -> dict[str, str]:
    """Return `AMQP_URL` and `REDIS_URL`, if set, with the files of the variables added as parameters."""
    urls = {}
    for server, kind in _KINDS.items():
        if url := values.get(f"{server}_URL"):
            urls[f"{server}_URL"] = ";".join(_extended(part, server, kind, values) for part in _urls(url, server))
    return urls


def _extended(url: str, server: str, kind: _Kind, values: Mapping[str, str]) -> str:
    if not url.startswith(kind.schemes):
        return url
    given = split(url)[1]
    added = {
        name: values[variable]
        for variable, name in zip(_variables(server), kind.parameters, strict=True)
        if variable in values and name not in given
    }
    return f"{url}{'&' if '?' in url else '?'}{urlencode(added)}" if added else url


def _urls(text: str, server: str) -> list[str]:
    """Return the URLs in a variable; brokers are separated by `;`."""
    return [part.strip() for part in text.split(";")] if server == "AMQP" else [text]


def _variables(server: str) -> list[str]:
    return [f"{server}_{name}" for name in _FILES]


# ---- faults


def faults(values: Mapping[str, str]) -> list[Fault]:
    """Return the current faults in the certificate files, one line each."""
    found: list[Fault] = []
    for server, kind in _KINDS.items():
        names = [name for name in _variables(server) if name in values]
        urls = _urls(extended(values).get(f"{server}_URL", ""), server)
        secure = [url for url in urls if url.startswith(kind.schemes)]
        if names and not secure:
            text = f"{' and '.join(names)} would have no effect, because {server}_URL does not use TLS"
            found.append(Fault(text, tuple(names), f"use a URL like {kind.example}"))
        for url in secure:
            given = split(url)[1]
            paths = [given.get(name) for name in kind.parameters]
            texts = _faults_of(TlsFiles(*paths), _labels(server, kind, paths, values))
            found += [Fault(text, tuple(names) or (f"{server}_URL",)) for text in texts]
    return list(dict.fromkeys(found))


def _labels(server: str, kind: _Kind, paths: list[str | None], values: Mapping[str, str]) -> TlsFiles:
    """Return the name of each file for error texts: its variable, or the URL parameter that overrides it."""
    labels = []
    for variable, parameter, path in zip(_variables(server), kind.parameters, paths, strict=True):
        ours = path is None or values.get(variable) == path
        labels.append(variable if ours else f"{server}_URL ({parameter})")
    return TlsFiles(*labels)


def _faults_of(files: TlsFiles, named: TlsFiles) -> Iterator[str]:
    if files.ca is not None:
        try:
            _certificates(files.ca, str(named.ca), "the certificate of the authority that issued the server's")
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(files.ca)
        except ValueError as fault:
            yield str(fault)
    if (files.cert is None) != (files.key is None):
        yield f"{named.cert} and {named.key} go together; {named.cert if files.cert is None else named.key} is not set"
    elif files.cert is not None and files.key is not None:
        yield from _pair_faults(files.cert, files.key, named)


def _pair_faults(cert: str, key: str, named: TlsFiles) -> Iterator[str]:
    chain, private = None, None
    try:
        chain = _certificates(cert, str(named.cert), "the client certificate")
    except ValueError as fault:
        yield str(fault)
    try:
        private = _private_key(key, str(named.key))
    except ValueError as fault:
        yield str(fault)
    if chain is None or private is None:
        return
    ours, theirs = private.public_key(), chain[0].public_key()
    if _kind(ours) != _kind(theirs):
        yield (
            f"{named.key} is not the key of {named.cert}: it is {_kind(ours)} and the certificate is for "
            f"{_kind(theirs)}: {shown(key)}"
        )
    elif _encoded(ours) != _encoded(theirs):
        yield f"{named.key} is not the key of {named.cert}: the certificate is for another key: {shown(key)}"
    else:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert, key, password="")
        except ssl.SSLError as error:
            reason = (error.reason or "unknown").replace("_", " ").lower()
            yield f"{named.cert} and {named.key} cannot be used: OpenSSL reports {reason}: {shown(cert)}"


def _read(path: str, name: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error.strerror}: {shown(path)}") from None


def _certificates(path: str, name: str, wanted: str) -> list[x509.Certificate]:
    data = _read(path, name)
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError:
        raise ValueError(f"{name} contains {_content(data)}; it has to be {wanted}, as PEM: {shown(path)}") from None


def _private_key(path: str, name: str) -> Any:
    data = _read(path, name)
    try:
        key = load_pem_private_key(data, None)
    except TypeError:
        raise ValueError(
            f"{name} is encrypted with a passphrase; remove it with `openssl pkey -in FILE -out NEW`: {shown(path)}"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError(
            f"{name} contains {_content(data)}; it has to be the private key of the client certificate, as PEM: "
            f"{shown(path)}"
        ) from None
    if not isinstance(key, _SIGNING):
        raise ValueError(
            f"{name} is {_kind(key.public_key())}, which TLS cannot use; RSA and EC keys work: {shown(path)}"
        )
    return key


_SIGNING: Final = (
    rsa.RSAPrivateKey,
    ec.EllipticCurvePrivateKey,
    ed25519.Ed25519PrivateKey,
    ed448.Ed448PrivateKey,
)


def _content(data: bytes) -> str:
    """Return what a file contains instead of the expected content."""
    for mark, what in _CONTENTS:
        if mark in data:
            return what
    return "no PEM data"


_CONTENTS: Final = (
    (b"PRIVATE KEY-----", "a private key"),
    (b"PUBLIC KEY-----", "a public key"),
    (b"CERTIFICATE REQUEST-----", "a certificate request"),
    (b"CERTIFICATE-----", "a certificate"),
)


def _kind(key: Any) -> str:
    """Return the kind of a public key, with its article."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"an EC key ({key.curve.name})"
    name = type(key).__name__.removeprefix("_").removesuffix("PublicKey")
    return f"an {name} key" if name[0] in "AEIRX" else f"a {name} key"


def _encoded(key: Any) -> bytes:
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded
