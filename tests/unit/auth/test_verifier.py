"""Tokens: which are verified and which are refused, and that only TokenRefused is raised."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jwt.api_jws import PyJWS
from jwt.utils import base64url_encode

from peatio_ws.auth.identity import Identity
from peatio_ws.auth.jwks import KeyRing, NamedKey
from peatio_ws.auth.keys import ALGORITHMS, load_public_key, private_pem, public_text
from peatio_ws.auth.verifier import MAX_TOKEN_CHARACTERS, Verifier, _Jws
from peatio_ws.config.settings import Settings
from peatio_ws.errors import AuthenticationError
from tests.unit.samples import NOW, claims, private_key, public_pem, raw_pem, settings, sign

SHORT = "{!r:.12}".format  # parameters with long ids
PAIRS = [name for name in ALGORITHMS if name != "HS256"]


def verify(token: str, now: float = NOW, **environ: str) -> Identity:
    return Verifier(settings(**environ).token_rules).verify(token, now)


def refused(token: str, now: float = NOW, **environ: str) -> str:
    """Return why a token is refused."""
    with pytest.raises(AuthenticationError) as caught:
        verify(token, now, **environ)
    return str(caught.value)


def is_accepted(token: str, now: float = NOW, **environ: str) -> bool:
    try:
        verify(token, now, **environ)
    except AuthenticationError:
        return False
    return True


def test_a_session_token_is_accepted_for_its_uid() -> None:
    assert verify(sign(claims())) == Identity("ID1", None, "", expires=NOW + 60, jti="1f2e", issued=NOW - 60)


@pytest.mark.parametrize("algorithm", PAIRS)
def test_every_algorithm_verifies_its_own_signatures(algorithm: str) -> None:
    environ = {"JWT_ALGORITHM": algorithm, "JWT_PUBLIC_KEY": public_text(private_key(algorithm))}
    token = sign(claims(), algorithm, private_key(algorithm))
    assert is_accepted(token, **environ)
    assert not is_accepted(sign(claims(), algorithm, private_key(algorithm, 1)), **environ)


def test_shared_secret_verifies_only_with_hs256() -> None:
    secret = "0123456789abcdef" * 2
    environ = {"JWT_ALGORITHM": "HS256", "JWT_PUBLIC_KEY": secret}
    assert is_accepted(sign(claims(), "HS256", secret.encode()), **environ)
    assert not is_accepted(sign(claims(), "HS256", secret.encode()[::-1]), **environ)


def test_a_raw_ed25519_key_inside_pem_verifies() -> None:
    key = private_key("EdDSA")
    assert is_accepted(sign(claims(), "EdDSA", key), JWT_ALGORITHM="EdDSA", JWT_PUBLIC_KEY=raw_pem(key))


# ---- base64 decoding, compared with PyJWT


SEGMENTS = st.binary(max_size=40) | st.text("AZaz09-_+/=! \n", max_size=20).map(str.encode)


def read_by(jws: type[PyJWS], segment: bytes) -> bytes | None:
    try:
        return jws._decode_base64url_segment(segment, "header")
    except jwt.DecodeError:
        return None


@given(SEGMENTS | SEGMENTS.map(base64.urlsafe_b64encode) | SEGMENTS.map(base64url_encode))
def test_segments_are_decoded_as_by_pyjwt(segment: bytes) -> None:
    assert read_by(_Jws, segment) == read_by(PyJWS, segment)


def test_valid_token_is_not_scanned_by_character(monkeypatch: pytest.MonkeyPatch) -> None:
    def looks_through(segment: bytes, name: str) -> bytes:
        raise AssertionError("PyJWT's own was asked; does it have another name in this version?")

    monkeypatch.setattr(PyJWS, "_decode_base64url_segment", staticmethod(looks_through))
    assert is_accepted(sign(claims()))


# ---- signatures that must not count


def forge(header: dict[str, Any], payload: dict[str, Any], signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(payload).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


@pytest.mark.parametrize("name", ["none", "None", "NONE", "", None, 5, ["RS256"]])
def test_an_unsigned_token_is_refused(name: Any) -> None:
    refused(forge({"typ": "JWT", "alg": name}, claims()))
    refused(forge({"typ": "JWT"}, claims()))


@pytest.mark.parametrize("keyed_with", [public_pem, public_text])
def test_a_token_keyed_with_the_public_key_is_refused(keyed_with: Any) -> None:
    secret = keyed_with(private_key()).encode()
    unsigned = forge({"typ": "JWT", "alg": "HS256"}, claims()).rpartition(".")[0]
    tag = base64.urlsafe_b64encode(hmac.digest(secret, unsigned.encode(), hashlib.sha256)).rstrip(b"=").decode()
    refused(f"{unsigned}.{tag}")


@pytest.mark.parametrize("other", ["RS384", "RS512", "PS256"])
def test_other_algorithm_is_refused_even_with_the_right_key(other: str) -> None:
    assert "algorithm" in refused(sign(claims(), other, private_key()))


def test_a_token_of_another_key_is_refused() -> None:
    assert "signature" in refused(sign(claims(), key=private_key(number=1)))


@pytest.mark.parametrize("header", [{"jwk": {"kty": "oct", "k": "AAAA"}}, {"jku": "http://a"}, {"crit": ["exp"]}])
def test_key_in_the_token_header_is_ignored(header: dict[str, Any]) -> None:
    refused(sign(claims(), key=private_key(number=1), **header))


def test_any_change_of_the_claims_breaks_the_signature() -> None:
    header, _, signature = sign(claims()).split(".")
    other = forge({}, claims(uid="ID2")).split(".")[1]
    refused(f"{header}.{other}.{signature}")


@given(st.data())
def test_any_changed_character_is_refused_or_has_no_effect(data: st.DataObject) -> None:
    token = sign(claims())
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from("ABCXYZabcxyz0189-_.="))
    changed = token[:place] + letter + token[place + 1 :]
    try:
        identity = verify(changed)
    except AuthenticationError:
        return
    assert identity == verify(token)  # the last character of a segment has unused bits


# ---- rotation


def rotation(*numbers: int) -> str:
    return ",".join(public_text(private_key(number=number)) for number in numbers)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_tokens_of_all_rotation_keys_are_accepted(number: int) -> None:
    token = sign(claims(), key=private_key(number=number))
    assert is_accepted(token, JWT_PUBLIC_KEY=rotation(0), JWT_PUBLIC_KEYS=rotation(1, 2))
    assert is_accepted(token, JWT_PUBLIC_KEY="", JWT_PUBLIC_KEYS=rotation(2, 1, 0))


def test_token_of_a_removed_rotation_key_is_refused() -> None:
    refused(sign(claims(), key=private_key(number=3)), JWT_PUBLIC_KEYS=rotation(1, 2))


def test_claims_are_checked_whichever_key_signed() -> None:
    token = sign(claims(exp=NOW - 1), key=private_key(number=1))
    assert refused(token, JWT_PUBLIC_KEYS=rotation(0, 1, 2)) == "expired"


# ---- claims


@pytest.mark.parametrize("name", ["exp", "iat", "jti", "sub", "uid"])
def test_missing_claim_is_named(name: str) -> None:
    assert name in refused(sign(claims(without=(name,))))


ODD: list[Any] = [None, True, False, 0, 1, -1, 1.5, [], ["a"], {}, {"a": 1}, 10**400, float("nan"), float("inf")]


@pytest.mark.parametrize("value", [*ODD, "", " ", "\t\n", "\u3000", "ID\ud83d"], ids=SHORT)
@pytest.mark.parametrize("name", ["jti", "uid"])
def test_blank_or_non_text_jti_or_uid_is_refused(name: str, value: Any) -> None:
    refused(sign(claims(**{name: value})))


@pytest.mark.parametrize("value", [*ODD, "", "api_key", "Session", "session "], ids=SHORT)
def test_a_subject_that_is_not_session_is_refused(value: Any) -> None:
    refused(sign(claims(sub=value)))


@pytest.mark.parametrize("value", [*ODD, "", "banned", "pending", "Active"], ids=SHORT)
def test_a_state_that_is_not_active_is_refused(value: Any) -> None:
    refused(sign(claims(state=value)))


def test_state_is_optional() -> None:
    assert is_accepted(sign(claims(without=("state",))))


@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
@pytest.mark.parametrize(
    "value",
    [None, True, False, "", str(NOW), "soon", [], [NOW], {}, 10**400, -(10**400), 1e300, *map(float, ("nan", "inf"))],
    ids=SHORT,
)
def test_time_that_is_not_a_number_of_seconds_is_refused(name: str, value: Any) -> None:
    assert name in refused(sign(claims(**{name: value})))


@pytest.mark.parametrize("value", ["1" * 5000, "[" * 2500 + "]" * 2500, '{"a":' * 800 + "1" + "}" * 800], ids=SHORT)
def test_claims_that_python_cannot_read_are_refused(value: str) -> None:
    payload = json.dumps(claims())[:-1] + f',"exp":{value}' + "}"
    token = jwt.api_jws.encode(payload.encode(), private_key(), algorithm="RS256")
    assert len(token) < MAX_TOKEN_CHARACTERS
    refused(token)


@pytest.mark.parametrize("payload", [b"[]", b"null", b"5", b'"text"', b"", b"\xff", b"{"])
def test_token_with_a_payload_that_is_not_an_object_is_refused(payload: bytes) -> None:
    refused(jwt.api_jws.encode(payload, private_key(), algorithm="RS256"))


# ---- times, at their boundaries


@pytest.mark.parametrize("leeway", [0, 5, 2.5])
@pytest.mark.parametrize(
    ("claim", "variable", "last_good", "first_bad"),
    [
        # RFC 7519: not accepted "on or after" exp, accepted at nbf.
        ("exp", "JWT_EXPIRATION_LEEWAY", lambda leeway: NOW - leeway + 0.5, lambda leeway: NOW - leeway),
        ("nbf", "JWT_NOT_BEFORE_LEEWAY", lambda leeway: NOW + leeway, lambda leeway: NOW + leeway + 0.5),
        ("iat", "JWT_ISSUED_AT_LEEWAY", lambda leeway: NOW + leeway, lambda leeway: NOW + leeway + 0.5),
    ],
)
def test_each_time_claim_has_its_own_leeway(
    claim: str, variable: str, last_good: Any, first_bad: Any, leeway: float
) -> None:
    for name in (variable, "JWT_DEFAULT_LEEWAY"):
        environ = {name: str(leeway)}
        assert is_accepted(sign(claims(**{claim: last_good(leeway)})), **environ)
        assert not is_accepted(sign(claims(**{claim: first_bad(leeway)})), **environ)


@pytest.mark.parametrize(
    ("claim", "other"),
    [
        ("exp", {"JWT_NOT_BEFORE_LEEWAY": "99", "JWT_ISSUED_AT_LEEWAY": "99"}),
        ("nbf", {"JWT_EXPIRATION_LEEWAY": "99", "JWT_ISSUED_AT_LEEWAY": "99"}),
        ("iat", {"JWT_EXPIRATION_LEEWAY": "99", "JWT_NOT_BEFORE_LEEWAY": "99"}),
    ],
)
def test_leeways_of_other_claims_do_not_apply(claim: str, other: dict[str, str]) -> None:
    value = NOW - 10 if claim == "exp" else NOW + 10
    refused(sign(claims(**{claim: value})), **other)


def test_expiry_of_an_identity_includes_the_leeway() -> None:
    assert verify(sign(claims()), JWT_EXPIRATION_LEEWAY="5").expires == NOW + 65


# ---- issuer and audience


@pytest.mark.parametrize(
    ("wanted", "given_ones", "accepted"),
    [
        ("peatio", "peatio", True),
        ("peatio", ["peatio"], True),
        ("peatio", ["barong", "peatio"], True),
        ("barong, peatio", "peatio", True),
        ("barong,peatio", ["peatio", "other"], True),
        ("peatio", "barong", False),
        ("peatio", "peatio,barong", False),
        ("peatio", "", False),
        ("peatio", [], False),
        ("peatio", ["Peatio"], False),
        ("peatio", None, False),
        ("peatio", 5, False),
        ("peatio", {"peatio": 1}, False),
        ("peatio", ["peatio", 5], False),
        ("", "whoever", True),
        ("", ["whoever"], True),
    ],
)
def test_audience_has_to_match_the_setting(wanted: str, given_ones: Any, accepted: bool) -> None:
    assert is_accepted(sign(claims(aud=given_ones)), JWT_AUDIENCE=wanted) is accepted


def test_required_audience_and_issuer_may_not_be_missing() -> None:
    assert "aud" in refused(sign(claims()), JWT_AUDIENCE="peatio")
    assert "iss" in refused(sign(claims()), JWT_ISSUER="barong")


@pytest.mark.parametrize(
    ("wanted", "issuer", "accepted"),
    [
        ("barong", "barong", True),
        ("barong", "mallory", False),
        ("barong", "bar", False),
        ("barong", ["barong"], False),
        ("barong", 5, False),
        ("barong", None, False),
        ("", "whoever", True),
    ],
)
def test_issuer_has_to_match_the_setting(wanted: str, issuer: Any, accepted: bool) -> None:
    assert is_accepted(sign(claims(iss=issuer)), JWT_ISSUER=wanted) is accepted


@pytest.mark.parametrize(("role", "seen"), [("admin", "admin"), (None, ""), (5, ""), (["admin"], "")])
def test_role_is_text_or_absent(role: Any, seen: str) -> None:
    assert verify(sign(claims(role=role))).role == seen


# ---- any input


def test_overlong_token_is_refused_before_parsing() -> None:
    token = sign(claims(padding="x" * MAX_TOKEN_CHARACTERS))
    assert refused(token) == "longer than 8192 characters"
    assert is_accepted(sign(claims(padding="x" * (MAX_TOKEN_CHARACTERS // 2))))


VERIFIER = Verifier(settings(JWT_AUDIENCE="peatio", JWT_ISSUER="barong").token_rules)


@given(st.text() | st.lists(st.text(alphabet="abcXYZ019-_", max_size=20), max_size=5).map(".".join))
def test_any_text_raises_only_token_refused(token: str) -> None:
    with pytest.raises(AuthenticationError):
        VERIFIER.verify(token, NOW)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = ["exp", "iat", "nbf", "jti", "sub", "uid", "aud", "iss", "state", "role", "member_id"]


@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4))
def test_any_claims_give_an_identity_or_are_refused(odd: dict[str, Any]) -> None:
    try:
        identity = VERIFIER.verify(sign({**claims(aud="peatio", iss="barong"), **odd}), NOW)
    except AuthenticationError:
        return
    assert isinstance(identity.uid, str)
    assert identity.uid.strip()
    assert type(identity.member_id) in (int, type(None))
    assert identity.expires > NOW


@given(st.sampled_from(NAMES), st.text(alphabet="abcdefgh", min_size=12))
def test_a_refusal_repeats_nothing_of_the_token(name: str, secret: str) -> None:
    token = sign({**claims(aud="peatio", iss="barong"), name: {secret: secret}})
    refusal: AuthenticationError | None = None
    try:
        VERIFIER.verify(token, NOW)
    except AuthenticationError as error:
        refusal = error
    said = repr(refusal and vars(refusal))
    assert refusal is None or refusal.uid == (None if name == "uid" else "ID1")  # the signature is valid
    assert secret not in said
    assert token.split(".")[1] not in said


@pytest.mark.parametrize(
    "odd",
    [
        {"exp": NOW - 1},
        {"iat": NOW + 90},
        {"nbf": NOW + 90},
        {"aud": "other"},
        {"iss": "other"},
        {"sub": "api_key"},
        {"state": "locked"},
        {"jti": ""},
        {"exp": "soon"},
    ],
)
def test_refusal_names_the_member_only_if_the_signature_verifies(odd: dict[str, Any]) -> None:
    payload = {**claims(aud="peatio", iss="barong", uid=" ID1 "), **odd}
    for key, uid in ((private_key(), "ID1"), (private_key(number=1), None)):
        with pytest.raises(AuthenticationError) as caught:
            VERIFIER.verify(sign(payload, key=key), NOW)
        assert caught.value.uid == uid


def test_uid_is_of_the_rotation_key_that_verifies_the_signature() -> None:
    token = sign(claims(sub="api_key"), key=private_key(number=2))
    verifier = Verifier(settings(JWT_PUBLIC_KEYS=rotation(0, 1, 2)).token_rules)
    with pytest.raises(AuthenticationError) as caught:
        verifier.verify(token, NOW)
    assert (caught.value.text, caught.value.uid) == ("subject is not session", "ID1")


def test_keys_do_not_appear_in_representations() -> None:
    whole = Settings.from_env({"JWT_PUBLIC_KEY": public_text(private_key())})
    assert public_text(private_key())[:40] not in repr(Verifier(whole.token_rules)) + repr(whole.token_rules)
    assert private_pem(private_key()).decode() not in repr(whole)


# ---- published keys


def published(*kids: str | None, **environ: str) -> Verifier:
    """Return a verifier with these published keys, numbered from 0, and by default no fixed key."""
    rules = settings(**environ) if environ else Settings.from_env({"JWT_JWKS_URL": "http://issuer"})
    verifier = Verifier(rules.token_rules)
    named = [NamedKey(kid, load_public_key(rotation(number), "RS256")) for number, kid in enumerate(kids)]
    verifier.ring = KeyRing(verifier.ring.fixed, named)
    return verifier


def why_not(verifier: Verifier, token: str) -> str:
    try:
        verifier.verify(token, NOW)
    except AuthenticationError as error:
        return str(error)
    return ""


def signed(number: int, **header: Any) -> str:
    return sign(claims(), key=private_key(number=number), **header)


@pytest.mark.parametrize(
    ("number", "header", "reason"),
    [
        (0, {"kid": "a"}, ""),
        (1, {"kid": "b"}, ""),
        (0, {"kid": "b"}, "signature does not match the key"),
        (0, {"kid": "c"}, "kid names an unknown key"),
        (0, {"kid": ""}, "kid names an unknown key"),
        (0, {}, ""),
        (1, {}, ""),
        (2, {}, ""),
        (2, {"kid": "c"}, "kid names an unknown key"),
        (3, {}, "signature does not match the key"),
    ],
)
def test_kid_selects_the_published_key(number: int, header: Any, reason: str) -> None:
    assert why_not(published("a", "b", None), signed(number, **header)) == reason


@pytest.mark.parametrize("kid", [None, "of the fixed one"])
def test_fixed_key_is_used_together_with_published_ones(kid: str | None) -> None:
    verifier = published("a", JWT_PUBLIC_KEY=rotation(5))
    header = {} if kid is None else {"kid": kid}
    assert why_not(verifier, signed(5, **header)) == ""
    assert why_not(verifier, signed(0, kid="a")) == ""
    assert why_not(verifier, signed(5, kid="a")) == "signature does not match the key"


def test_published_keys_can_be_added_and_removed() -> None:
    verifier = published("a")
    assert why_not(verifier, signed(1, kid="b"))
    verifier.ring = published("", "b").ring
    assert why_not(verifier, signed(1, kid="b")) == ""
    assert why_not(verifier, signed(0, kid="a"))


def test_before_the_first_set_no_token_is_accepted() -> None:
    rules = Settings.from_env({"JWT_JWKS_URL": "http://issuer"}).token_rules
    assert why_not(Verifier(rules), signed(0)) == "no key is known yet"


def test_kid_is_ignored_without_published_keys() -> None:
    assert is_accepted(sign(claims(), kid="anything"))


@given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_malformed_token_header_is_refused(header: str) -> None:
    verifier = published("a", None)
    assert why_not(verifier, f"{header}.{signed(0).partition('.')[2]}")


@pytest.mark.parametrize("kid", [None, 5, True, 1.5, [], ["a"], {}, {"a": "a"}])
def test_kid_that_is_not_text_is_refused(kid: Any) -> None:
    whole = forge({"typ": "JWT", "alg": "RS256", "kid": kid}, claims())
    assert why_not(published("a", None), whole)
