"""A token bucket allows a burst, then a rate."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.concurrency.token_bucket import TokenBucket


def test_full_bucket_allows_a_burst() -> None:
    bucket = TokenBucket(3, 1)
    assert [bucket.take() for _ in range(5)] == [True, True, True, False, False]


def test_tokens_come_back_at_the_rate() -> None:
    bucket = TokenBucket(3, 2)
    bucket.refill(100.0)
    assert bucket.take(3)
    bucket.refill(100.25)
    assert not bucket.take(), "half a token is none"
    bucket.refill(100.5)
    assert [bucket.take(), bucket.take()] == [True, False]


def test_bucket_never_holds_more_than_its_limit() -> None:
    bucket = TokenBucket(3, 2)
    bucket.refill(100.0)
    bucket.take()
    bucket.refill(1e6)
    assert bucket.tokens == 3


def test_time_while_the_bucket_is_full_does_not_count() -> None:
    bucket = TokenBucket(3, 1)
    bucket.refill(100.0)
    bucket.refill(103.0)
    bucket.take(3)
    bucket.refill(104.0)
    assert bucket.tokens == 1


def test_too_few_tokens_are_all_left() -> None:
    bucket = TokenBucket(3, 1)
    assert not bucket.take(4)
    assert bucket.tokens == 3


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20)), max_size=40))
def test_no_more_is_taken_than_the_limit_and_the_rate_allow(steps: list[tuple[int, int]]) -> None:
    bucket, now, taken = TokenBucket(10, 2), 50.0, 0
    bucket.refill(now)
    for seconds, count in steps:
        now += seconds
        bucket.refill(now)
        taken += count * bucket.take(count)
    assert taken <= 10 + 2 * (now - 50.0)
