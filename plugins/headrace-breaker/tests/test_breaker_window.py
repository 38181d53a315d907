"""The windows of a closed circuit, compared with lists of all results."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_breaker.window import BUCKETS, CallWindow, TimeWindow

results = st.lists(st.tuples(st.floats(0.0, 30.0), st.booleans(), st.booleans()), max_size=200)


@given(results, st.sampled_from([1.0, 20.0, 60.0]))
def test_time_window_counts_recent_results(results: list[tuple[float, bool, bool]], length: float) -> None:
    window, seen, now, width = TimeWindow(length), list[tuple[int, bool, bool]](), 1000.0, length / BUCKETS
    latest = -1
    for wait, failed, slow in results:
        now += wait
        window.record(now, failed, slow)
        if now >= (latest + 1) * width:
            latest = int(now / width)
        seen.append((latest, failed, slow))
        recent = [each for each in seen if each[0] > latest - BUCKETS]
        assert window.calls == len(recent)
        assert window.failed == sum(failed for _, failed, _ in recent)
        assert window.slow == sum(slow for _, _, slow in recent)


@pytest.mark.parametrize(("later", "counted"), [(19.6, 2), (20.0, 1), (1e9, 1)])
def test_result_counts_for_the_window_less_one_bucket(later: float, counted: int) -> None:
    window = TimeWindow(20.0)
    window.record(0.0, True, False)
    window.record(later, True, False)
    assert (window.calls, window.failed, window.slow) == (counted, counted, 0)


@given(results, st.integers(1, 50))
def test_call_window_counts_the_last_calls(results: list[tuple[float, bool, bool]], length: int) -> None:
    window, last = CallWindow(length), deque[tuple[bool, bool]](maxlen=length)
    for now, failed, slow in results:
        window.record(now, failed, slow)
        last.append((failed, slow))
        assert window.calls == len(last)
        assert window.failed == sum(failed for failed, _ in last)
        assert window.slow == sum(slow for _, slow in last)
