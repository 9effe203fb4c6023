"""Public keys as operators write them, and which are refused."""

from __future__ import annotations

import base64
import re
import textwrap
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.auth import keys
from tests.unit.samples import private_key, public_pem, raw_pem

PAIRS = [name for name in keys.ALGORITHMS if name != "HS256"]
KINDS = {
    "RSA": ("RS256", {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
    "P-256": ("ES256", {"ES256"}),
    "P-384": ("ES384", {"ES384"}),
    "P-521": ("ES512", {"ES512"}),
    "Ed25519": ("EdDSA", {"EdDSA"}),
}
"""An algorithm to make a key of each kind, and the algorithms that can use the key."""

WRITTEN: dict[str, Callable[[str], str]] = {
    "PEM": lambda pem: pem,
    "PEM with blanks around": lambda pem: f"\n  {pem}  \n",
    "PEM on one line": lambda pem: pem.replace("\n", "\\n"),
    "PEM with CRLF": lambda pem: pem.replace("\n", "\r\n"),
    "base64": lambda pem: base64.b64encode(pem.encode()).decode(),
    "url-safe base64": lambda pem: base64.urlsafe_b64encode(pem.encode()).decode(),
    "base64 without padding": lambda pem: base64.b64encode(pem.encode()).decode().rstrip("="),
    "base64 in lines": lambda pem: "\n".join(textwrap.wrap(base64.b64encode(pem.encode()).decode(), 60)),
}


def same(first: keys.PublicKey, second: keys.PrivateKey) -> bool:
    assert not isinstance(first, bytes)
    return first == second.public_key()


def test_algorithms_match_the_documents() -> None:
    assert set(keys.ALGORITHMS) == {
        *(f"{family}{bits}" for family in ("RS", "PS", "ES") for bits in (256, 384, 512)),
        "EdDSA",
        "HS256",
    }


@pytest.mark.parametrize("algorithm", PAIRS)
def test_the_public_text_of_a_new_key_is_read_back(algorithm: str) -> None:
    key = private_key(algorithm)
    assert same(keys.load_public_key(keys.public_text(key), algorithm), key)


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("algorithm", ["RS256", "ES512", "EdDSA"])
def test_public_key_is_read_in_any_encoding(algorithm: str, written: str) -> None:
    key = private_key(algorithm)
    assert same(keys.load_public_key(WRITTEN[written](public_pem(key)), algorithm), key)


@pytest.mark.parametrize("written", WRITTEN)
def test_a_raw_ed25519_key_inside_pem_is_read(written: str) -> None:
    key = private_key("EdDSA")
    assert same(keys.load_public_key(WRITTEN[written](raw_pem(key)), "EdDSA"), key)


def test_an_rsa_key_in_the_older_pem_is_read() -> None:
    key = private_key("RS256")
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1).decode()
    assert same(keys.load_public_key(pem, "RS256"), key)


@pytest.mark.parametrize("algorithm", PAIRS)
@pytest.mark.parametrize("kind", KINDS)
def test_key_is_accepted_only_for_its_algorithms(kind: str, algorithm: str) -> None:
    made_for, fits = KINDS[kind]
    text = keys.public_text(private_key(made_for))
    if algorithm in fits:
        keys.load_public_key(text, algorithm)
    else:
        with pytest.raises(ValueError, match=f"JWT_ALGORITHM={algorithm} cannot use"):
            keys.load_public_key(text, algorithm)


@pytest.mark.parametrize("curve", [ec.SECP256K1(), ec.SECP224R1()])
def test_a_curve_that_no_algorithm_uses_is_refused(curve: ec.EllipticCurve) -> None:
    with pytest.raises(ValueError, match="cannot use"):
        keys.load_public_key(keys.public_text(ec.generate_private_key(curve)), "ES256")


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "ES384", "ES512", "EdDSA"])
def test_usual_algorithm_of_a_key_is_one_that_can_use_it(algorithm: str) -> None:
    text = keys.public_text(private_key(algorithm))
    assert keys.usual_algorithm(text) == algorithm
    keys.load_public_key(text, keys.usual_algorithm(text))


@pytest.mark.parametrize("text", ["", "hello", "0123456789abcdef" * 2])
def test_a_text_that_is_not_a_key_is_never_used_as_a_secret(text: str) -> None:
    assert keys.usual_algorithm(text) == "RS256"


def test_a_short_rsa_key_is_refused() -> None:
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    with pytest.raises(ValueError, match="1024 bits"):
        keys.load_public_key(keys.public_text(short), "RS256")


def test_a_key_that_is_not_for_signing_is_refused() -> None:
    pem = x25519.X25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(ValueError, match="no supported algorithm"):
        keys.load_public_key(pem.decode(), "EdDSA")


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_private_key_is_refused_in_any_encoding(algorithm: str, form: PrivateFormat, written: str) -> None:
    pem = private_key(algorithm).private_bytes(Encoding.PEM, form, NoEncryption()).decode()
    with pytest.raises(ValueError, match="is a private key") as refused:
        keys.load_public_key(WRITTEN[written](pem), algorithm)
    assert_shows_nothing_of(str(refused.value), pem)


def test_encrypted_private_key_is_refused() -> None:
    locked = serialization.BestAvailableEncryption(b"sesame")
    pem = private_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked).decode()
    with pytest.raises(ValueError, match="is a private key"):
        keys.load_public_key(pem, "RS256")


@given(st.text())
def test_text_without_a_key_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        keys.load_public_key(text, "RS256")


@given(st.binary(max_size=100), st.sampled_from(PAIRS))
def test_pem_without_a_key_is_a_value_error(raw: bytes, algorithm: str) -> None:
    pem = f"-----BEGIN PUBLIC KEY-----\n{base64.b64encode(raw).decode()}\n-----END PUBLIC KEY-----\n"
    if len(raw) == 32 and algorithm == "EdDSA":
        keys.load_public_key(pem, algorithm)  # any 32 bytes may be an Ed25519 key
        return
    for text in (pem, base64.b64encode(raw).decode(), base64.b64encode(pem.encode()).decode()):
        with pytest.raises(ValueError):
            keys.load_public_key(text, algorithm)


@pytest.mark.parametrize(
    ("lines", "said"),
    [(1, "without its end (-----END PUBLIC KEY-----)"), (3, "without its end"), (-2, "not a whole public key")],
)
def test_a_key_that_was_cut_off_is_named_as_that(lines: int, said: str) -> None:
    """As by a file of variables that takes one line only."""
    pem = base64.urlsafe_b64decode(keys.public_text(private_key("RS256"))).decode().splitlines()
    kept = pem[:lines] if lines > 0 else [*pem[:lines], pem[-1]]
    with pytest.raises(ValueError, match=re.escape(said)) as refused:
        keys.load_public_key("\n".join(kept), "RS256")
    assert '"$(cat barong.pem)"' in str(refused.value)


@given(st.text(alphabet="ABCDEFGHabcdefgh0123456789+/", min_size=12), st.sampled_from(sorted(WRITTEN)))
def test_refusal_shows_nothing_of_the_text(text: str, written: str) -> None:
    pem = f"-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n"
    for given_text in (text, WRITTEN[written](pem)):
        with pytest.raises(ValueError) as refused:
            keys.load_public_key(given_text, "RS256")
        assert text not in str(refused.value)
        assert given_text not in str(refused.value)


def assert_shows_nothing_of(said: str, pem: str) -> None:
    assert not [line for line in pem.splitlines()[1:-1] if line in said]


@given(st.text(min_size=32))
def test_shared_secret_is_used_unchanged(secret: str) -> None:
    assert keys.load_public_key(secret, "HS256") == secret.encode()


@given(st.text(max_size=31).filter(lambda text: len(text.encode()) < 32))
def test_short_secret_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(ValueError, match="32 bytes") as refused:
        keys.load_public_key(secret, "HS256")
    assert len(secret) < 8 or secret not in str(refused.value)


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("algorithm", ["RS256", "ES384", "EdDSA"])
def test_private_key_of_the_tools_is_read_back(algorithm: str, written: str) -> None:
    key = private_key(algorithm)
    read = keys.load_private_key(WRITTEN[written](keys.private_pem(key).decode()))
    assert read.public_key() == key.public_key()


@given(st.text())
def test_text_without_a_private_key_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        keys.load_private_key(text)


def test_private_key_of_an_unsupported_kind_is_a_value_error() -> None:
    pem = dsa.generate_private_key(1024).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ValueError, match="no supported algorithm"):
        keys.load_private_key(pem.decode())


def test_shared_secret_has_no_key_pair() -> None:
    with pytest.raises(ValueError, match="HS256"):
        keys.new_private_key("HS256")
