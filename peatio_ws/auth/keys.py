"""Parses and makes keys: public keys from the environment, new pairs, private keys for the tools.

Knows PEM, base64 of PEM and Rango's raw Ed25519 form; does not know tokens.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | Ed25519PublicKey | bytes
PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | Ed25519PrivateKey

_CURVES: Final[dict[str, type[ec.EllipticCurve]]] = {
    "ES256": ec.SECP256R1,
    "ES384": ec.SECP384R1,
    "ES512": ec.SECP521R1,
}
_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
ALGORITHMS: Final = (*_RSA, *_CURVES, "EdDSA", "HS256")
"""Values of `JWT_ALGORITHM` (contract section 4)."""


class ExposedKey(ValueError):
    """A private key or secret was found where a public key belongs."""


class UnusableKey(ValueError):
    """A public key that the algorithm cannot use."""


_HOW = 'it has to be the text of a public key, for example "$(cat barong.pem)"'
_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)


def load_public_key(text: str, algorithm: str) -> PublicKey:
    """Parse a public key as operators write it into an environment variable.

    Args:
        text: PEM, or base64 of PEM in either alphabet, padded or not. For Ed25519 also the raw 32 bytes inside PEM,
            as Rango's tools write it. For HS256 the secret itself.
        algorithm: one of `ALGORITHMS`; the key has to fit it.

    Raises:
        ExposedKey: the text is a private key.
        UnusableKey: the algorithm cannot use the key.
        ValueError: the text is not a key. Each error says what is wrong, and never contains the text.
    """
    if algorithm == "HS256":
        return _secret(text)
    return fitting(_parse_public(_pem_of(text)), algorithm)


def _secret(text: str) -> bytes:
    if "-----BEGIN" in text or _is_encoded_pem(text):
        raise ValueError("is a PEM key, which may be public; HS256 needs a secret")
    if len(text.encode()) < 32:
        raise ValueError("is shorter than the 32 bytes that HS256 needs (RFC 7518 section 3.2)")
    return text.encode()


def _is_encoded_pem(text: str) -> bool:
    try:
        return b"-----BEGIN" in _pem_of(text)
    except ValueError:
        return False


def _pem_of(text: str) -> bytes:
    data = text.strip().replace("\\n", "\n").encode()
    if b"-----BEGIN" not in data:
        packed = b"".join(data.split()).translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
        try:
            data = base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
        except binascii.Error:
            raise ValueError(f"is neither PEM nor base64 of PEM; {_HOW}") from None
    if b"PRIVATE KEY" in data:
        raise ExposedKey("is a private key, and is now exposed; replace the key pair, and set only the public half")
    return data


def _parse_public(pem: bytes) -> PublicKey:
    found = _PEM.search(pem)
    if not found and b"-----BEGIN" in pem:
        raise ValueError(f"contains a PEM block without its end (-----END PUBLIC KEY-----); {_HOW}")
    if not found:
        raise ValueError(f"contains no PEM block (-----BEGIN PUBLIC KEY-----); {_HOW}")
    body = b"".join(found[2].split())
    try:
        raw = base64.b64decode(body, validate=True)
    except binascii.Error:
        raise ValueError(f"contains a PEM block that is not base64; {_HOW}") from None
    try:
        if len(raw) == 32:
            return Ed25519PublicKey.from_public_bytes(raw)
        key = serialization.load_pem_public_key(found[0])
    except (ValueError, UnsupportedAlgorithm):
        kind = found[1].decode()
        raise ValueError(f"contains a PEM block ({kind}) that is not a whole public key; {_HOW}") from None
    return known(key)


def known(key: object) -> PublicKey:
    """Return the key. Raises ValueError if no supported algorithm uses keys of its kind."""
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | Ed25519PublicKey):
        raise ValueError(f"is of a kind that no supported algorithm uses ({type(key).__name__})")
    return key


def usual_algorithm(text: str) -> str:
    """Return the algorithm to use with a public key if none is configured, as Barong and Rango use it.

    Args:
        text: as for `load_public_key`.

    Returns:
        RS256 for an RSA key, the algorithm of an EC key's curve, EdDSA for Ed25519. RS256 too for a text that is not
        such a key; `load_public_key` says what is wrong with it. Never HS256: a secret has to be named as one.
    """
    try:
        key = _parse_public(_pem_of(text))
    except ValueError:
        return "RS256"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return next((name for name, curve in _CURVES.items() if isinstance(key.curve, curve)), "RS256")
    return "EdDSA" if isinstance(key, Ed25519PublicKey) else "RS256"


def fitting(key: PublicKey, algorithm: str) -> PublicKey:
    """Return the key. Raises UnusableKey, with the reason, if the algorithm cannot use it."""
    if isinstance(key, rsa.RSAPublicKey):
        fits = algorithm in _RSA
        if fits and key.key_size < 2048:
            raise UnusableKey(f"is {description(key)}; {algorithm} needs 2048 or more (RFC 7518 section 3.3)")
    elif isinstance(key, ec.EllipticCurvePublicKey):
        curve = _CURVES.get(algorithm)
        fits = curve is not None and isinstance(key.curve, curve)
    else:
        fits = algorithm == ("HS256" if isinstance(key, bytes) else "EdDSA")
    if not fits:
        raise UnusableKey(f"is {description(key)}, which JWT_ALGORITHM={algorithm} cannot use")
    return key


def description(key: PublicKey) -> str:
    """Return kind and size of a key, for error texts."""
    if isinstance(key, rsa.RSAPublicKey):
        return f"an RSA key of {key.key_size} bits"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"an EC key on {key.curve.name}"
    return "an Ed25519 key" if isinstance(key, Ed25519PublicKey) else f"a shared secret of {len(key)} bytes"


def load_signing_key(text: str, algorithm: str) -> PrivateKey | bytes:
    """Parse what signs tokens: a private key, or for HS256 the secret.

    Raises:
        ValueError: the text is neither.
    """
    return _secret(text) if algorithm == "HS256" else load_private_key(text)


def load_private_key(text: str) -> PrivateKey:
    """Parse a private key that signs tokens: PEM, or base64 of PEM in either alphabet.

    Raises:
        ValueError: the text is not a private key.
    """
    data = text.strip().replace("\\n", "\n").encode()
    if b"-----BEGIN" not in data:
        data = base64.urlsafe_b64decode(data.translate(bytes.maketrans(b"+/", b"-_")) + b"==")
    try:
        key = serialization.load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("is not a private key as PEM without a password, or base64 of it") from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | Ed25519PrivateKey):
        raise ValueError(f"is of a kind that no supported algorithm uses ({type(key).__name__})")
    return key


def new_private_key(algorithm: str) -> PrivateKey:
    """Return a new private key for one of `ALGORITHMS`. Raises ValueError for HS256."""
    if algorithm in _RSA:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    if algorithm in _CURVES:
        return ec.generate_private_key(_CURVES[algorithm]())
    if algorithm == "EdDSA":
        return Ed25519PrivateKey.generate()
    raise ValueError(f"there are no key pairs for {algorithm}")


def private_pem(key: PrivateKey) -> bytes:
    """Return the key as PKCS #8 PEM without a password."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_text(key: PrivateKey) -> str:
    """Return the public half as one line for `JWT_PUBLIC_KEY`: url-safe base64 of its PEM, as in Barong and Peatio."""
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.urlsafe_b64encode(pem).decode()
