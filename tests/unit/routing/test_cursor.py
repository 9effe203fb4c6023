"""A cursor can be opened for its member only, and reveals nothing."""

from __future__ import annotations

import base64
import itertools
import os
import zlib
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.protocol.exchanges import RANGER, Delivery
from peatio_ws.routing import cursor
from peatio_ws.routing.cursor import HEADER, KEY_BYTES, KEY_SECONDS, LENGTH, MOST_KEYS, Cursors
from peatio_ws.routing.history import STREAM, History, Position
from tests.unit.samples import cursors

ANN, BOB = "IDANN", "IDBOB"


def trade_of(number: int, ask: str, bid: str) -> Delivery:
    """Return a trade of which everything but the two members is public."""
    body = f'{{"id":{number},"market":"btcusd","price":"9120.5","ask_uid":"{ask}","bid_uid":"{bid}"}}'
    return Delivery(RANGER, f"private.{ask}.trade", {}, body.encode(), number)


def raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text)


# ---- content


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.text(), st.sampled_from([STREAM, "0a9zb3c4d5e6"]))
def test_cursor_is_read_back_unchanged(offset: int, digest: int, uid: str, name: str) -> None:
    some = cursors(History(name, 100, 1000))
    position = Position(name, offset, digest)
    text = some.seal(position, uid)
    assert len(text) == LENGTH
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"), (
        "a cursor in a URL has to be readable"
    )
    assert some.open(text, uid) == position


def test_cursor_is_behind_its_event_or_the_newest_one() -> None:
    history = History(STREAM, 100, 10**6)
    some = cursors(history)
    first = history.append(5, trade_of(5, ANN, BOB), (ANN, BOB), 0.0)
    second = history.append(9, trade_of(9, ANN, BOB), (ANN, BOB), 0.0)
    assert some.open(some.at(ANN, first), ANN) == history.position(first)
    assert some.open(some.at(ANN), ANN) == history.position(second)


@given(
    st.text(max_size=70) | st.from_regex(r"[A-Za-z0-9_-]{60}", fullmatch=True) | st.from_regex(r"s\.\d+\.[0-9a-f]{8}")
)
def test_any_other_text_is_not_a_cursor(text: str) -> None:
    assert cursors().open(text, ANN) is None


@given(st.integers(0, LENGTH - 1), st.sampled_from("AZaz09-_+/=.\x00é"))
def test_cursor_with_a_changed_character_is_invalid(place: int, character: str) -> None:
    some = cursors()
    text = some.at(ANN)
    other = text[:place] + character + text[place + 1 :]
    assert other == text or some.open(other, ANN) is None


@given(st.text(), st.text())
def test_cursor_is_valid_for_its_member_only(uid: str, other: str) -> None:
    some = cursors()
    assert some.open(some.at(uid), other) == (some._history.position() if other == uid else None)


def test_uid_with_surrogates_has_cursors() -> None:
    some = cursors()
    assert some.open(some.at("\ud800"), "\ud800") is not None


def test_cursor_is_valid_for_its_history_only() -> None:
    history = History("abc", 100, 1000)
    some = cursors(history)
    before = some.at(ANN)
    history.clear("def")
    assert some.open(before, ANN) is None
    history.clear("abc")
    assert some.open(before, ANN) is not None


# ---- confidentiality


def others_trade(count: int) -> tuple[History, Cursors, list[tuple[str, Delivery]]]:
    """Return a history with trades between others, and a fresh cursor of Ann behind each."""
    history = History(STREAM, 1000, 10**9)
    some = cursors(history)
    seen: list[tuple[str, Delivery]] = []
    for number in range(1, count + 1):
        ask, bid = f"ID{number * 7919 % 9000:04}", f"ID{number * 104729 % 9000:04}"
        delivery = trade_of(number, ask, bid)
        history.append(number, delivery, (ask, bid), 0.0)
        seen.append((some.at(ANN), delivery))
    return history, some, seen


def test_cursor_reveals_nothing_to_guess_members_with() -> None:
    """An attacker who knows all but the members guesses them until the checksum fits. Even the right guess fits nothing
    in the cursor: not as text, not as bytes, not as a difference of two cursors."""
    _, _, seen = others_trade(10_000)
    pairs = itertools.pairwise(seen)
    for (before, earlier), (after, delivery) in pairs:
        assert len(after) == LENGTH
        place, digest = delivery.offset or 0, zlib.crc32(delivery.body)
        right = place.to_bytes(8) + digest.to_bytes(4)
        change = ((earlier.offset or 0).to_bytes(8) + zlib.crc32(earlier.body).to_bytes(4), right)
        assert f"{digest:08x}" not in after
        assert right not in raw(after)
        # This would reveal a key stream that is used twice.
        assert xor(*change) not in xor(raw(before), raw(after))


def xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def test_cursors_look_random_with_and_without_trades() -> None:
    count = 10_000
    history, some, busy = others_trade(count)
    quiet = [some.at(ANN) for _ in range(count)]
    texts = [*(text for text, _ in busy), *quiet]
    assert len(set(texts)) == 2 * count, "two cursors are equal"
    assert {text[:6] for text in texts} == {texts[0][:6]}, "the key's id is the same in all cursors"
    for group in ([text for text, _ in busy], quiet):
        counts = Counter(byte for text in group for byte in raw(text)[5:])
        expected = count * 40 / 256
        chi = sum((counts[byte] - expected) ** 2 / expected for byte in range(256))
        assert 75 < chi < 436, "255 degrees of freedom, eight deviations"
        apart = [xor(raw(one)[5:], raw(other)[5:]) for one, other in itertools.pairwise(group)]
        differing = sum(int.from_bytes(bits).bit_count() for bits in apart) / len(apart)
        assert 159 < differing < 161, "half of 320 bits, eleven deviations"
    assert history.last == count


# ---- keys shared by workers


class Stream:
    """The stream through which workers read each other's markers."""

    def __init__(self) -> None:
        self.markers: list[dict[str, str]] = []

    def worker(self, now: float = 0.0) -> Cursors:
        """Start a worker: it publishes a marker and reads everything up to it."""
        new = cursors()
        self.markers.append(new.announce(now))
        for headers in self.markers:
            new.learn(headers, now)
        return new


def understand_each_other(*workers: Cursors) -> bool:
    return all(one.open(other.at(ANN), ANN) is not None for one in workers for other in workers)


def test_workers_of_one_stream_accept_each_others_cursors() -> None:
    stream = Stream()
    first = stream.worker()
    before = first.at(ANN)
    second = stream.worker()
    assert second.open(before, ANN) is not None, "the second worker has read the first one's key"
    assert second.open(cursors().at(ANN), ANN) is None, "the worker reads another stream"
    first.learn(stream.markers[-1], 0.0)
    assert understand_each_other(first, second)
    assert first.announce(0.0) == second.announce(0.0), "the workers use different keys"
    third = stream.worker()
    assert third.open(before, ANN) is not None


def test_workers_that_start_at_the_same_time_agree_on_a_key() -> None:
    workers = [cursors() for _ in range(8)]
    markers = [one.announce(0.0) for one in workers]
    for one in workers:
        for headers in markers:
            one.learn(headers, 0.0)
    assert understand_each_other(*workers)
    assert {one.announce(1.0)[HEADER] for one in workers} == {markers[-1][HEADER]}


def test_replaced_key_still_opens_its_cursors() -> None:
    stream = Stream()
    first, second = stream.worker(0.0), stream.worker(0.0)
    first.learn(stream.markers[-1], 0.0)
    before, old = first.at(ANN), first.announce(KEY_SECONDS)
    assert old == stream.markers[-1]
    new = first.announce(KEY_SECONDS + 1)
    assert new != old
    assert second.open(first.at(ANN), ANN) is not None, "the new key is used before it was read back"
    for one in (first, second):
        one.learn(new, KEY_SECONDS + 1)
        assert one.announce(KEY_SECONDS + 2) == new
        assert one.open(before, ANN) is not None
    assert understand_each_other(first, second)


def test_key_in_markers_is_kept_among_many_keys() -> None:
    some = cursors()
    key, text = some.announce(0.0), some.at(ANN)
    for number in range(3 * MOST_KEYS):
        some.learn({HEADER: number.to_bytes(KEY_BYTES).hex()}, 0.0)
        if number % 100 == 0:
            some.learn(key, 0.0)
    assert len(some._keys) == MOST_KEYS
    assert some.open(text, ANN) is not None


@pytest.mark.parametrize("value", [None, 7, b"", "", "zz", "00", "00" * 31, "00" * 33, "é", "0" * 63, {}, []])
def test_header_that_is_not_a_key_is_ignored(value: object) -> None:
    some = cursors()
    before = some.announce(0.0)
    some.learn({HEADER: value}, 0.0)
    some.learn({}, 0.0)
    assert some.announce(0.0) == before


def test_single_worker_limits_the_cursors_of_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cursor, "MOST_SEALED_ALONE", 1000)
    alone, shared = cursors(), cursors()
    shared.learn(shared.announce(0.0), 0.0)
    keys = [Counter(some.at(ANN)[:6] for _ in range(3000)) for some in (alone, shared)]
    assert len(keys[0]) == 3
    assert len(keys[1]) == 1, "a worker changed its key although others read the stream"
    assert all(number <= 1000 + 256 for number in keys[0].values())


def test_each_cursor_has_fresh_randomness() -> None:
    drawn: list[bytes] = []

    def random(count: int) -> bytes:
        drawn.append(os.urandom(count))
        return drawn[-1]

    some = Cursors(History(STREAM, 100, 1000), random)
    nonces = [raw(some.at(ANN))[5:17] for _ in range(1000)]
    assert len(set(nonces)) == 1000
    assert b"".join(drawn[1:]).startswith(b"".join(nonces))


ways: dict[str, Callable[[Cursors, Cursors], str]] = {
    "forged": lambda some, _: some.at(ANN)[:6] + "A" * 54,
    "of another member": lambda some, _: some.at(BOB),
    "with another key": lambda _, other: other.at(ANN),
}


@pytest.mark.parametrize("way", ways)
def test_invalid_cursors_are_decrypted_like_valid_ones(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All invalid cursors take the same code path: timing does not distinguish another member's cursor from an invented
    one."""
    some = cursors()
    text = ways[way](some, cursors())
    tried: list[str] = []
    key = some._key
    monkeypatch.setattr(some, "_key", key._replace(aead=Spy(key.aead, tried)))
    some._keys = dict.fromkeys(some._keys, some._key)
    assert some.open(text, ANN) is None
    assert tried == ["decrypt"]


class Spy:
    def __init__(self, aead: object, tried: list[str]) -> None:
        self._aead, self._tried = aead, tried

    def decrypt(self, *given: object) -> object:
        self._tried.append("decrypt")
        return self._aead.decrypt(*given)  # type: ignore[attr-defined]
