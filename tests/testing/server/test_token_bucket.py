"""The rate limit, with invented times."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.testing.server.token_bucket import TokenBucket


def test_one_second_of_the_rate_passes_at_once_then_one_at_a_time() -> None:
    bucket = TokenBucket(10)
    assert [bucket.take(0.0) for _ in range(10)] == [0.0] * 10
    assert bucket.take(0.0) == pytest.approx(0.1)
    assert bucket.take(0.05) == pytest.approx(0.05)
    assert bucket.take(0.11) == 0.0
    assert bucket.take(0.11) > 0


def test_slow_bucket_holds_one_token() -> None:
    bucket = TokenBucket(0.5)
    assert bucket.take(100.0) == 0.0
    assert bucket.take(100.0) == pytest.approx(2.0)
    assert bucket.take(102.0) == 0.0


def test_headers_have_limit_remaining_and_reset() -> None:
    bucket = TokenBucket(4)
    bucket.take(0.0)
    assert bucket.headers() == {
        "x-ratelimit-limit-requests": "4",
        "x-ratelimit-remaining-requests": "3",
        "x-ratelimit-reset-requests": "250ms",
    }


@pytest.mark.parametrize(("rate", "reset"), [(0.5, "2.000s"), (0.01, "1m40.000s")])
def test_long_reset_is_written_in_minutes_and_seconds(rate: float, reset: str) -> None:
    bucket = TokenBucket(rate)
    bucket.take(0.0)
    assert bucket.headers()["x-ratelimit-reset-requests"] == reset


@given(
    st.floats(min_value=0.1, max_value=1000),
    st.lists(st.floats(min_value=0, max_value=1), max_size=200),
)
def test_at_most_the_rate_and_one_burst_pass(rate: float, steps: list[float]) -> None:
    bucket = TokenBucket(rate)
    now = 0.0
    passed = 0
    for step in steps:
        now += step
        passed += bucket.take(now) == 0.0
    assert passed <= max(1.0, rate) + now * rate + 1e-6
