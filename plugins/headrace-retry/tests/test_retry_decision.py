"""The retry schedule, without an event loop."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_retry.decision import RetrySchedule


def schedule(**changes: Any) -> RetrySchedule:
    defaults: dict[str, Any] = {
        "attempts": 10,
        "base": 0.5,
        "factor": 2.0,
        "cap": 20.0,
        "jitter": "none",
        "max_elapsed": None,
        "max_retry_after": 120.0,
    }
    return RetrySchedule(**defaults | changes)


def test_the_backoff_doubles_up_to_its_cap() -> None:
    delays = [schedule().delay(attempt, None, 0.0, None, random.Random()) for attempt in range(1, 9)]
    assert delays == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 20.0, 20.0]


def test_the_classic_policy_waits_1_2_and_4_seconds() -> None:
    classic = schedule(attempts=4, base=1.0)
    delays = [classic.delay(attempt, None, 0.0, None, random.Random()) for attempt in (1, 2, 3, 4)]
    assert delays == [1.0, 2.0, 4.0, None]


def test_the_cap_holds_when_the_power_overflows() -> None:
    assert schedule(attempts=10**6).delay(5000, None, 0.0, None, random.Random()) == 20.0


def test_full_jitter_is_uniform_from_zero_to_the_backoff() -> None:
    rng = random.Random(1)
    drawn = [schedule(jitter="full").delay(4, None, 0.0, None, rng) or 0.0 for _ in range(2000)]
    assert min(drawn) < 0.05
    assert max(drawn) > 3.95
    assert abs(sum(drawn) / len(drawn) - 2.0) < 0.1


def test_attempts_are_limited() -> None:
    assert schedule(attempts=3).delay(2, None, 0.0, None, random.Random()) is not None
    assert schedule(attempts=3).delay(3, None, 0.0, None, random.Random()) is None


@pytest.mark.parametrize(("remaining", "delay"), [(0.4, None), (0.5, None), (0.6, 0.5), (None, 0.5)])
def test_no_delay_reaches_the_deadline(remaining: float | None, delay: float | None) -> None:
    assert schedule().delay(1, None, 0.0, remaining, random.Random()) == delay


@pytest.mark.parametrize(("elapsed", "delay"), [(9.5, 0.5), (9.6, None)])
def test_total_time_is_limited(elapsed: float, delay: float | None) -> None:
    assert schedule(max_elapsed=10.0).delay(1, None, elapsed, None, random.Random()) == delay


@pytest.mark.parametrize(("retry_after", "delay"), [(20.0, 20.0), (120.0, 120.0), (120.5, None)])
def test_retry_after_is_honoured_up_to_the_limit(retry_after: float, delay: float | None) -> None:
    assert schedule().delay(1, retry_after, 0.0, None, random.Random()) == delay


@given(
    attempt=st.integers(1, 100),
    retry_after=st.none() | st.floats(0.001, 1e6),
    elapsed=st.floats(0, 1e6),
    remaining=st.none() | st.floats(0, 1e6),
    jitter=st.sampled_from(["full", "none"]),
    max_elapsed=st.none() | st.floats(0, 1e6),
    seed=st.integers(),
)
def test_every_delay_is_within_all_limits(
    attempt: int,
    retry_after: float | None,
    elapsed: float,
    remaining: float | None,
    jitter: str,
    max_elapsed: float | None,
    seed: int,
) -> None:
    limited = schedule(attempts=50, jitter=jitter, max_elapsed=max_elapsed)
    delay = limited.delay(attempt, retry_after, elapsed, remaining, random.Random(seed))
    if delay is None:
        return
    assert attempt < 50
    assert (retry_after or 0.0) <= delay <= (retry_after or 0.0) + 20.0
    assert retry_after is None or retry_after <= 120.0
    assert remaining is None or delay < remaining
    assert max_elapsed is None or elapsed + delay <= max_elapsed
