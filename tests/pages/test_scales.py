"""Ticks of axes."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.pages.scales import (
    bar_width,
    count_ticks,
    latency_label,
    log_ticks,
    time_label,
    time_ticks,
    time_unit,
    usd_label,
    value_ticks,
    width_label,
)


@given(st.integers(1, 10**12))
def test_counts_have_few_ticks_that_reach_the_maximum(most: int) -> None:
    ticks = count_ticks(most)
    assert ticks[0] == 0
    assert ticks[-1] >= most > ticks[-2]
    assert len(ticks) <= 6
    assert len(set(ticks)) == len(ticks)


@given(st.floats(1e-6, 1e9))
def test_amounts_have_few_ticks_with_distinct_labels(most: float) -> None:
    ticks = value_ticks(most)
    assert ticks[0] == 0
    assert ticks[-1] >= most * (1 - 1e-9) > ticks[-2] * (1 - 1e-6)
    assert len(ticks) <= 6
    assert len({usd_label(tick, ticks[1]) for tick in ticks}) == len(ticks)


@given(st.integers(0, 10**13), st.sampled_from([1, 10, 1000, 60_000, 123]))
def test_at_most_120_bars_of_whole_buckets_show_any_time(length: int, fine: int) -> None:
    width = bar_width(length, fine)
    assert width > 0
    assert width % fine == 0
    assert length <= width * 120


@given(st.floats(0.001, 1e9), st.sampled_from([0.08, 0.2]))
def test_times_have_distinct_labels_with_room(seconds: float, closest: float) -> None:
    ticks = time_ticks(seconds, closest)
    assert ticks[0] == 0
    assert ticks[-1] <= seconds * (1 + 1e-6)
    assert all(later - earlier >= seconds * closest * 0.999 for earlier, later in pairwise(ticks))
    unit = time_unit(time_ticks(seconds, 0.08))
    words = [time_label(tick, unit) for tick in ticks]
    assert len(set(words)) == len(words)
    assert max(map(len, words)) <= 7


@given(st.floats(1e-6, 1000), st.floats(1.6, 1e8), st.sampled_from([0.08, 0.2]))
def test_latencies_have_at_least_one_tick_with_room(low: float, ratio: float, closest: float) -> None:
    high = low * ratio
    ticks = log_ticks(low, high, closest)
    assert ticks
    assert all(low * 0.999 <= tick <= high * 1.001 for tick in ticks)
    assert all(math.log(b / a) >= math.log(ratio) * closest * 0.999 for a, b in pairwise(ticks))
    words = [latency_label(tick, low, high) for tick in ticks]
    assert len(set(words)) == len(words)


def test_ticks_are_round_numbers() -> None:
    assert count_ticks(199) == [0, 50, 100, 150, 200]
    assert time_ticks(25, 0.08) == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24]
    assert time_ticks(7000, 0.2) == [0, 1800, 3600, 5400]
    assert log_ticks(0.05, 2, 0.08) == pytest.approx([0.05, 0.1, 0.2, 0.5, 1, 2])
    assert [time_label(90, unit) for unit in ("s", "min:s")] == ["90", "1:30"]
    assert [time_label(86_400 * 3, unit) for unit in ("h:min", "days")] == ["72:00", "3"]
    assert [latency_label(0.05, *axis) for axis in ((0.05, 2), (0.001, 2), (0.04, 0.08))] == [
        "0.05 s",
        "50 ms",
        "50 ms",
    ]
    widths = (10, 500, 30_000, 600_000, 7_200_000, 86_400_000, 604_800_000)
    labels = ["10 ms", "0.5 s", "30 s", "10 min", "2 h", "24 h", "7 days"]
    assert [width_label(width) for width in widths] == labels


def test_dollars_have_the_decimals_of_their_axis() -> None:
    assert [usd_label(amount, 0.5) for amount in (0, 0.5, 1)] == ["$0", "$0.50", "$1.00"]
    assert [usd_label(amount, 0.0005) for amount in (0.0005, 0.001)] == ["$0.0005", "$0.0010"]
    assert usd_label(2000, 500) == "$2,000"
