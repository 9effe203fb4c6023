"""Key sets as issuers publish them: which keys are used, and for which tokens."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed448, rsa
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.auth.jwks import MOST_BYTES, KeyRing, NamedKey, parse_key_set
from peatio_ws.auth.keys import ALGORITHMS
from tests.unit.samples import jwk, jwk_set, private_key

PAIRS = [name for name in ALGORITHMS if name != "HS256"]
PRIVATE = jwt.algorithms.RSAAlgorithm.to_jwk(private_key(), as_dict=True)  # type: ignore[arg-type]


def read(*members: Any, algorithm: str = "RS256") -> dict[str | None, Any]:
    return dict(parse_key_set(jwk_set(*members), algorithm).keys)


def ignored(member: Any, algorithm: str = "RS256") -> str:
    """Return why a key is not used. Checks that a valid key in the same set is used."""
    found = parse_key_set(jwk_set(member, jwk(private_key(algorithm), "good")), algorithm)
    assert [named.kid for named in found.keys] == ["good"]
    (line,) = found.ignored + found.exposed
    assert "\n" not in line
    return line


@pytest.mark.parametrize("algorithm", PAIRS)
def test_keys_of_every_kind_are_read_with_their_key_id(algorithm: str) -> None:
    keys = {kid: private_key(algorithm, number) for number, kid in enumerate("ab")}
    members = [jwk(key, kid, use="sig", alg=algorithm) for kid, key in keys.items()]
    assert read(*members, algorithm=algorithm) == {kid: key.public_key() for kid, key in keys.items()}


def test_key_needs_only_its_type_and_numbers() -> None:
    assert read(jwk(private_key(), key_ops=None)) == {None: private_key().public_key()}


def test_newer_name_of_eddsa_is_accepted() -> None:
    assert "a" in read(jwk(private_key("EdDSA"), "a", alg="Ed25519"), algorithm="EdDSA")


def test_unknown_members_are_ignored() -> None:
    assert "a" in read(jwk(private_key(), "a", x5t="x", x5c=["x"], exp=1, anything={}))


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (jwk(private_key(number=1), "x", use="enc"), "is not for signatures"),
        (jwk(private_key(number=1), "x", key_ops=["encrypt"]), "is not for verifying"),
        (jwk(private_key(number=1), "x", key_ops="verify"), "is not for verifying"),
        (jwk(private_key(number=1), "x", alg="RS512"), "another algorithm than JWT_ALGORITHM=RS256"),
        (jwk(private_key(number=1), "x", alg=["RS256"]), "another algorithm"),
        (jwk(private_key("ES256"), "x"), "is an EC key on secp256r1, which JWT_ALGORITHM=RS256 cannot use"),
        (jwk(private_key("EdDSA"), "x"), "is an Ed25519 key, which"),
        (jwk(rsa.generate_private_key(public_exponent=65537, key_size=1024), "x"), "1024 bits"),
        ({"kid": "x", "kty": "RSA"}, "is not a valid RSA key"),
        ({"kid": "x", "kty": "RSA", "n": 5, "e": []}, "is not a valid RSA key"),
        (jwk(private_key(number=1), "x", e="AA"), "is not a valid RSA key"),
        ({"kid": "x", "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, "is not a valid EC key"),
        ({"kid": "x", "kty": "AKP"}, "of a kind that no supported algorithm uses"),
        ({"kid": "x"}, "of a kind that no supported algorithm uses"),
    ],
)
def test_key_for_another_purpose_is_ignored_and_reported(member: Any, words: str) -> None:
    line = ignored(member)
    assert line.startswith("key 'x' ")
    assert words in line


@pytest.mark.parametrize("member", [None, 5, "text", [], {}, {"kid": 5}, {"kid": None, "kty": ["RSA"]}])
def test_invalid_key_is_ignored_and_counted(member: Any) -> None:
    assert ignored(member).startswith("key 1 ")


def test_ed448_key_is_ignored() -> None:
    other = jwt.algorithms.OKPAlgorithm.to_jwk(ed448.Ed448PrivateKey.generate().public_key(), as_dict=True)
    assert "no supported algorithm" in ignored(other, "EdDSA")


@pytest.mark.parametrize(
    ("member", "words"),
    [
        ({**PRIVATE, "kid": "x"}, "is a private key"),
        ({"kid": "x", "kty": "RSA", "d": "AA"}, "is a private key"),
        ({"kid": "x", "kty": "oct", "k": "c2VjcmV0LXNlY3JldA"}, "is a shared secret"),
    ],
)
def test_published_private_key_is_ignored_and_not_logged(member: Any, words: str) -> None:
    line = ignored(member)
    assert words in line
    assert parse_key_set(jwk_set(member), "RS256").exposed
    assert not [value for value in member.values() if len(str(value)) > 4 and str(value) in line]


def test_long_or_multiline_key_id_is_logged_as_a_short_line() -> None:
    assert len(ignored({"kid": "a\nb" * 5000})) < 200


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"[]", b"5", b"{}", b'{"keys":{}}', b"[" * 200_000, b" " * (MOST_BYTES + 1)], ids=repr
)
def test_invalid_key_set_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="is "):
        parse_key_set(data, "RS256")


def test_empty_set_is_valid() -> None:
    assert parse_key_set(jwk_set(), "RS256") == ((), (), ())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
MEMBER = st.dictionaries(st.sampled_from("kty kid use alg key_ops n e crv x y d k".split()), JSON)


@given(st.lists(JSON | MEMBER.map(lambda odd: {**jwk(private_key()), **odd}), max_size=3), st.sampled_from(PAIRS))
def test_every_member_of_a_set_is_used_or_reported(members: list[Any], algorithm: str) -> None:
    found = parse_key_set(json.dumps({"keys": members}).encode(), algorithm)
    assert len(found.keys) + len(found.ignored) + len(found.exposed) == len(members)


# ---- selecting the key of a token

FIXED = private_key(number=9).public_key()
OLD, NEW = (NamedKey(kid, private_key(number=number).public_key()) for number, kid in enumerate(["old", "new"]))
NAMELESS = NamedKey(None, private_key(number=2).public_key())


@pytest.mark.parametrize(
    ("fixed", "kid", "keys"),
    [
        ((), "old", [OLD.key]),
        ((), "new", [NEW.key]),
        ((), "other", []),
        ((), 5, []),
        ((), None, [OLD.key, NEW.key, NAMELESS.key]),
        ((FIXED,), "old", [OLD.key]),
        ((FIXED,), "other", [FIXED]),
        ((FIXED,), None, [FIXED, OLD.key, NEW.key, NAMELESS.key]),
    ],
)
def test_kid_selects_the_published_key_or_a_fixed_one(fixed: Any, kid: Any, keys: Any) -> None:
    assert list(KeyRing(fixed, (OLD, NEW, NAMELESS)).for_token(kid)) == keys


def test_keys_with_the_same_id_are_all_tried() -> None:
    again = NamedKey("old", NEW.key)
    assert list(KeyRing((), (OLD, again)).for_token("old")) == [OLD.key, NEW.key]
