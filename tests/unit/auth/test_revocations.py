"""Which tokens are refused, and for how long, against a model that forgets nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.auth import revocations
from peatio_ws.auth.identity import Identity
from peatio_ws.auth.revocations import Revocation, Revocations, read
from peatio_ws.cluster import commands

NOW = 1_700_000_000.0


def identity(uid: str = "ANN", jti: str = "a", issued: float = NOW - 60) -> Identity:
    return Identity(uid, None, "member", NOW + 3600, jti, issued)


def test_token_is_revoked_by_its_id() -> None:
    known = Revocations()
    assert not known.is_revoked(identity(), NOW)
    assert known.add(Revocation("ANN", NOW + 100, "a"), NOW)
    assert known.is_revoked(identity(), NOW)
    assert not known.is_revoked(identity(jti="b"), NOW)
    assert not known.is_revoked(identity(uid="BOB"), NOW), "another member's token with the same id was refused"


@pytest.mark.parametrize(("issued", "refused"), [(NOW - 1e6, True), (NOW - 0.5, True), (NOW, True), (NOW + 1, False)])
def test_all_tokens_issued_before_a_revocation_are_refused(issued: float, refused: bool) -> None:
    known = Revocations()
    known.add(Revocation("ANN", NOW + 100, None, NOW), NOW)
    assert known.is_revoked(identity(issued=issued), NOW) is refused
    assert not known.is_revoked(identity("BOB", issued=issued), NOW)


def test_member_without_a_token_cannot_be_revoked() -> None:
    known = Revocations()
    known.add(Revocation("ANN", NOW + 100, None, NOW), NOW)
    assert not known.is_revoked(Identity("ANN", None, "", float("inf")), NOW)


def test_leeway_covers_a_clock_that_is_ahead() -> None:
    known = Revocations(leeway=5)
    known.add(Revocation("ANN", NOW + 100, None, NOW), NOW)
    assert known.is_revoked(identity(issued=NOW + 5), NOW)
    assert not known.is_revoked(identity(issued=NOW + 6), NOW)


@pytest.mark.parametrize("one", [Revocation("ANN", NOW + 100, "a"), Revocation("ANN", NOW + 100, None, NOW)])
def test_expired_revocation_is_forgotten(one: Revocation) -> None:
    known = Revocations()
    assert known.add(one, NOW)
    assert not known.add(one, NOW), "an old revocation was reported as new"
    assert known.is_revoked(identity(), NOW + 99)
    assert not known.is_revoked(identity(), NOW + 100)
    assert not list(known.known(NOW + 100))
    assert not Revocations().add(one, NOW + 100), "an expired revocation was added"


@given(
    st.lists(
        st.builds(
            Revocation,
            st.sampled_from(["ANN", "BOB"]),
            st.sampled_from([NOW + 10, NOW + 20, NOW + 30]),
            st.sampled_from([None, "a", "b"]),
            st.sampled_from([NOW - 20, NOW - 10, NOW]),
        ),
        max_size=8,
    ),
    st.sampled_from([NOW, NOW + 15, NOW + 25, NOW + 30]),
    st.builds(
        identity, st.sampled_from(["ANN", "BOB"]), st.sampled_from(["a", "c"]), st.sampled_from([NOW - 15, NOW - 5])
    ),
)
def test_revoked_tokens_are_refused_and_a_copy_agrees(given: list[Revocation], later: float, who: Identity) -> None:
    known, copy = Revocations(), Revocations()
    for one in given:
        known.add(one, NOW)
    for one in known.known(NOW):
        again = read(commands.encode(one))
        assert again == one
        assert copy.add(one, NOW)
    own = [one for one in given if one.uid == who.uid]
    if any(one.until > later and (one.jti == who.jti or (one.jti is None and who.issued <= one.issued)) for one in own):
        assert known.is_revoked(who, later)
    if not any(one.jti == who.jti or (one.jti is None and who.issued <= one.issued) for one in own):
        assert not known.is_revoked(who, later)
    if not any(one.until > later for one in own):
        assert not known.is_revoked(who, later)
    assert copy.is_revoked(who, later) is known.is_revoked(who, later)
    assert not any(known.add(one, NOW) for one in copy.known(NOW))


def test_revocations_are_bounded_and_expired_ones_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocations, "REVOCATIONS_KEPT", 3)
    known = Revocations()
    assert known.add(Revocation("ANN", NOW + 10, "a"), NOW)
    assert known.add(Revocation("BOB", NOW + 20, None, NOW), NOW)
    assert known.add(Revocation("CAT", NOW + 20, "c"), NOW)
    assert not known.full
    assert not known.add(Revocation("DAN", NOW + 20, "d"), NOW)
    assert known.full
    assert known.is_revoked(identity(), NOW), "a known revocation was forgotten"
    assert known.add(Revocation("DAN", NOW + 20, "d"), NOW + 10)
    assert len(known) == 3


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        b"[]",
        b"{}",
        b'{"uid":"A"}',
        b'{"uid":1,"until":2}',
        b'{"uid":"","until":2}',
        b'{"uid":"A","until":"2"}',
        b'{"uid":"A","until":1e999}',
        b'{"uid":"%b","until":2}' % (b"A" * 257),
        b'{"uid":"\xff","until":2}',
    ],
)
def test_invalid_revocation_is_ignored(data: bytes) -> None:
    assert read(data) is None


# ---- taken back


@pytest.mark.parametrize("jti", [None, "a"])
def test_cancelled_revocation_refuses_no_token_and_cannot_be_added_again(jti: str | None) -> None:
    known, one = Revocations(), Revocation("ANN", NOW + 100, jti, NOW)
    other = Revocation("BOB", NOW + 100, jti, NOW)
    known.add(one, NOW)
    known.add(other, NOW)
    assert known.cancel(one, NOW + 1)
    assert not known.is_revoked(identity(), NOW + 1)
    assert known.is_revoked(identity("BOB"), NOW + 1)
    assert not known.cancel(one, NOW + 2), "the same cancellation was reported as new"
    assert not known.add(one, NOW + 2), "a worker that missed it stored it again, and it was heeded"
    assert list(known.known(NOW + 2)) == [other]


@pytest.mark.parametrize("jti", [None, "a"])
def test_later_revocation_of_the_same_tokens_is_in_force(jti: str | None) -> None:
    known = Revocations()
    known.cancel(Revocation("ANN", NOW + 100, jti, NOW), NOW)
    assert known.add(Revocation("ANN", NOW + 100, jti, NOW + 1), NOW + 1)
    assert known.is_revoked(identity(), NOW + 2)
    known.cancel(Revocation("ANN", NOW + 200, jti, NOW), NOW + 2)
    assert known.is_revoked(identity(), NOW + 2), "a cancellation of the earlier one has no effect on it"


@pytest.mark.parametrize("jti", [None, "a"])
def test_cancellations_of_the_same_tokens_add_up(jti: str | None) -> None:
    known = Revocations()
    known.cancel(later := Revocation("ANN", NOW + 100, jti, NOW + 1), NOW + 1)
    known.cancel(longer := Revocation("ANN", NOW + 200, jti, NOW), NOW + 1)
    assert not known.add(later, NOW + 2)
    assert not known.add(longer, NOW + 2)


def test_cancelling_one_token_keeps_the_others_revoked() -> None:
    known = Revocations()
    known.add(Revocation("ANN", NOW + 100, None, NOW), NOW)
    known.add(Revocation("ANN", NOW + 100, "a", NOW), NOW)
    known.cancel(Revocation("ANN", NOW + 100, "a", NOW), NOW)
    assert known.is_revoked(identity(jti="a"), NOW), "all tokens of the member are revoked, too"
    known.cancel(Revocation("ANN", NOW + 100, None, NOW), NOW)
    assert not known.is_revoked(identity(jti="a"), NOW)


def test_cancellations_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocations, "REVOCATIONS_KEPT", 2)
    known = Revocations()
    assert not known.cancel(Revocation("OLD", NOW, "a"), NOW), "an expired one needs no cancellation"
    for number in range(5):
        known.cancel(Revocation(f"ID{number}", NOW + 10, "a", NOW), NOW)
    assert len(known._cancelled) == 2
    known.cancel(Revocation("NEW", NOW + 50, "a", NOW), NOW + 20)
    assert len(known._cancelled) == 1
