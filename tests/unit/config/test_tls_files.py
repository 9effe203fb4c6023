"""Certificate files: how they are added to URLs, and one line for each fault of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from peatio_ws.cli import replay
from peatio_ws.cluster import operator
from peatio_ws.config.settings import Settings
from peatio_ws.config.tls_files import TlsFiles, extended, faults, files_of, split
from peatio_ws.errors import ConfigurationError
from tests.support.certificate import Authority, write_key

AMQPS = "amqps://guest:sesame@mq/"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> tuple[str, str]:
    cert, key = authority.issue("client", "gateway", for_client=True)
    return str(cert), str(key)


def only_fault(**values: str) -> str:
    (found,) = faults(values)
    assert found.variables
    fault = str(found)
    assert "\n" not in fault
    assert "sesame" not in fault
    return fault


# ---- URLs


def test_files_are_added_to_each_url_with_tls() -> None:
    found = extended(
        {
            "AMQP_URL": f"{AMQPS}; amqp://plain/;amqps://other/?cacertfile=/its/own.pem",
            "AMQP_CA_FILE": "/ca;1.pem",
            "REDIS_URL": "rediss://r/0",
            "REDIS_CA_FILE": "/r&d.pem",
        }
    )
    first, plain, other = (split(url) for url in found["AMQP_URL"].split(";"))
    assert first == (AMQPS, {"cacertfile": "/ca;1.pem"})
    assert plain == ("amqp://plain/", {})
    assert files_of(other[1]) == TlsFiles("/its/own.pem")
    assert split(found["REDIS_URL"]) == ("rediss://r/0", {"ssl_ca_certs": "/r&d.pem"})


def test_urls_of_the_settings_contain_the_files(authority: Authority, pair: tuple[str, str]) -> None:
    files = {"CA_FILE": str(authority.cert), "CERT_FILE": pair[0], "KEY_FILE": pair[1]}
    environ = {f"{server}_{name}": path for server in ("AMQP", "REDIS") for name, path in files.items()}
    environ |= {"AMQP_URL": AMQPS, "REDIS_URL": "rediss://r", "JWT_ALGORITHM": "HS256", "JWT_PUBLIC_KEY": "-" * 32}
    settings = Settings.from_env(environ, at_start=True)
    (url,) = settings.amqp_urls
    assert files_of(split(url)[1]) == TlsFiles(*files.values())
    assert split(str(settings.redis_url))[1] == dict(
        zip(("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"), files.values(), strict=True)
    )
    assert replay.broker(environ).amqp_urls == settings.amqp_urls
    assert operator.redis_url(environ) == settings.redis_url


@pytest.mark.parametrize(
    ("url", "text"),
    [
        (f"{AMQPS}?verify=verify_none", "always verified"),
        (f"{AMQPS}?ssl_cert_reqs=CERT_NONE", "unknown"),
        ("amqp://mq/?cacertfile=/ca.pem", "has to begin with amqps://"),
        ("amqp://mq/?frame_max=1", "unknown"),
    ],
)
def test_useless_or_harmful_parameters_are_refused(url: str, text: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Settings.from_env({"AMQP_URL": url, "JWT_ALGORITHM": "HS256", "JWT_PUBLIC_KEY": "-" * 32})
    (fault,) = map(str, raised.value.faults)
    assert fault.startswith("AMQP_URL has ")
    assert text in fault
    assert "sesame" not in fault


# ---- faults


def test_valid_files_have_no_faults(authority: Authority, pair: tuple[str, str]) -> None:
    cert, key = pair
    values = {"AMQP_URL": AMQPS, "AMQP_CA_FILE": str(authority.cert), "AMQP_CERT_FILE": cert, "AMQP_KEY_FILE": key}
    assert faults(values) == []
    assert faults({"AMQP_URL": AMQPS}) == faults({"AMQP_URL": "amqp://mq/"}) == faults({}) == []


@pytest.mark.parametrize("name", ["AMQP_CA_FILE", "AMQP_CERT_FILE", "AMQP_KEY_FILE"])
def test_missing_file_is_reported(authority: Authority, pair: tuple[str, str], name: str, tmp_path: Path) -> None:
    cert, key = pair
    values = {"AMQP_URL": AMQPS, "AMQP_CA_FILE": str(authority.cert), "AMQP_CERT_FILE": cert, "AMQP_KEY_FILE": key}
    fault = only_fault(**(values | {name: str(tmp_path / "none.pem")}))
    assert fault.startswith(f"{name} cannot be read: No such file or directory: /")
    assert only_fault(**(values | {name: str(tmp_path)})).startswith(f"{name} cannot be read: Is a directory")


def test_file_with_other_content_is_reported(authority: Authority, pair: tuple[str, str], tmp_path: Path) -> None:
    cert, key = pair
    (tmp_path / "empty").write_text("")
    fault = only_fault(AMQP_URL=AMQPS, AMQP_CA_FILE=key)
    assert fault.startswith("AMQP_CA_FILE contains a private key; it has to be the certificate of the authority")
    fault = only_fault(AMQP_URL=AMQPS, AMQP_CA_FILE=str(tmp_path / "empty"))
    assert fault.startswith("AMQP_CA_FILE contains no PEM data")
    fault = only_fault(REDIS_URL="rediss://r", REDIS_CERT_FILE=cert, REDIS_KEY_FILE=cert)
    assert fault.startswith("REDIS_KEY_FILE contains a certificate; it has to be the private key")


def test_certificate_without_its_key_is_reported(pair: tuple[str, str]) -> None:
    cert, key = pair
    both = "AMQP_CERT_FILE and AMQP_KEY_FILE go together"
    assert only_fault(AMQP_URL=AMQPS, AMQP_CERT_FILE=cert) == f"{both}; AMQP_KEY_FILE is not set"
    assert only_fault(AMQP_URL=AMQPS, AMQP_KEY_FILE=key) == f"{both}; AMQP_CERT_FILE is not set"


@pytest.mark.parametrize(
    ("key", "passphrase", "text"),
    [
        (
            ec.generate_private_key(ec.SECP256R1()),
            None,
            "is not the key of AMQP_CERT_FILE: the certificate is for another",
        ),
        (
            rsa.generate_private_key(65_537, 2048),
            None,
            "it is an RSA key and the certificate is for an EC key (secp256r1)",
        ),
        (x25519.X25519PrivateKey.generate(), None, "is an X25519 key, which TLS cannot use"),
        (
            ec.generate_private_key(ec.SECP256R1()),
            b"sesame",
            "is encrypted with a passphrase; remove it with `openssl pkey",
        ),
    ],
)
def test_key_that_does_not_match_is_reported(
    pair: tuple[str, str], tmp_path: Path, key: Any, passphrase: bytes | None, text: str
) -> None:
    path = write_key(tmp_path / "key.pem", key, passphrase)
    fault = only_fault(AMQP_URL=AMQPS, AMQP_CERT_FILE=pair[0], AMQP_KEY_FILE=str(path))
    assert fault.startswith("AMQP_KEY_FILE ")
    assert text in fault


def test_a_public_key_is_not_a_private_one(pair: tuple[str, str], tmp_path: Path) -> None:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    path = tmp_path / "key.pem"
    path.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    fault = only_fault(AMQP_URL=AMQPS, AMQP_CERT_FILE=pair[0], AMQP_KEY_FILE=str(path))
    assert fault.startswith("AMQP_KEY_FILE contains a public key; it has to be the private key")


@pytest.mark.parametrize("url", [{}, {"AMQP_URL": "amqp://mq/"}, {"AMQP_URL": "memory://"}])
def test_files_without_a_url_with_tls_are_a_fault(authority: Authority, url: dict[str, str]) -> None:
    """The operator would wrongly believe that the connection is encrypted."""
    fault = only_fault(AMQP_CA_FILE=str(authority.cert), **url)
    assert fault.startswith("AMQP_CA_FILE would have no effect, because AMQP_URL does not use TLS")
    assert "amqps://" in fault


def test_file_named_in_a_url_is_checked(tmp_path: Path) -> None:
    fault = only_fault(AMQP_URL=f"{AMQPS}?cacertfile={tmp_path / 'none.pem'}")
    assert fault.startswith("AMQP_URL (cacertfile) cannot be read: No such file or directory")
    fault = only_fault(REDIS_URL=f"rediss://r?ssl_ca_certs={tmp_path / 'none.pem'}")
    assert fault.startswith("REDIS_URL (ssl_ca_certs) cannot be read")


def test_worker_may_start_while_files_are_renewed() -> None:
    environ = {"AMQP_URL": AMQPS, "AMQP_CA_FILE": "/none", "JWT_ALGORITHM": "HS256", "JWT_PUBLIC_KEY": "-" * 32}
    assert Settings.from_env(environ).amqp_urls
    with pytest.raises(ConfigurationError, match="AMQP_CA_FILE cannot be read"):
        Settings.from_env(environ, at_start=True)
