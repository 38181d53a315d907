"""Counts over time."""

from __future__ import annotations

import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from headrace.bulk.report.timeline import Bar, Timeline, TimelineView

START = 1.7e9
DAY = 86_400.0


def course_of(times: list[float], elapsed: float = 0.0) -> TimelineView:
    timeline = Timeline()
    for number, time in enumerate(times):
        timeline.add(START + time, elapsed, failed=number % 3 == 0)
    course = timeline.view()
    assert course is not None
    return course


def steadily(begin: float, seconds: float, a_second: int = 20) -> list[float]:
    return [begin + number / a_second for number in range(int(seconds * a_second))]


@given(st.lists(st.floats(0, 400 * DAY) | st.floats(0, 5), min_size=1), st.floats(0, 100))
def test_bars_are_few_sorted_and_complete(times: list[float], elapsed: float) -> None:
    course = course_of(times, elapsed)
    bars = [bar for part in course.periods for bar in part.bars]
    failed = len(times[::3])
    assert sum(bar.succeeded for bar in bars) == len(times) - failed
    assert sum(bar.failed for bar in bars) == failed
    assert len(bars) <= 120 + 2 * len(course.periods)
    starts = [bar.start for bar in bars]
    assert all(later - earlier >= course.width for earlier, later in pairwise(starts))
    assert min(course.pauses, default=60_000) >= 60_000
    span = round((max(times) - min(times) + elapsed) * 1000)
    assert abs(course.active + sum(course.pauses) - span) <= 2


def test_merging_keeps_the_counts_of_each_bar() -> None:
    rng = random.Random(3)
    times = sorted(rng.uniform(0, 5000) for _ in range(20_000))
    course = course_of(times)
    first = round((START + times[0]) * 1000)
    done = [round((START + time) * 1000) - first for time in times]
    for bar in course.periods[0].bars:
        inside = [number for number, ms in enumerate(done) if bar.start <= ms < bar.start + course.width]
        assert bar.failed == sum(number % 3 == 0 for number in inside)
        assert bar.succeeded + bar.failed == len(inside)


def test_memory_does_not_grow_with_the_span() -> None:
    timeline = Timeline()
    for number in range(50_000):
        timeline.add(START + number * 977, 1.0, failed=False)
    assert len(timeline._counts) <= 4096
    course = timeline.view()
    assert course is not None
    assert len(course.periods) == 1
    assert len(course.periods[0].bars) > 50


def test_the_time_between_two_sessions_is_a_pause() -> None:
    course = course_of(steadily(0, 30) + steadily(DAY, 30) + steadily(9 * DAY, 30), elapsed=1.0)
    assert len(course.periods) == 3
    assert [round(pause / 1000) for pause in course.pauses] == [86_370, 8 * 86_400 - 30]
    assert round(course.active / 1000) == 91
    assert course.width <= 1000, "pauses take no width"


def test_ten_sessions_on_ten_days_are_ten_periods() -> None:
    course = course_of([time for day in range(10) for time in steadily(day * DAY, 30)])
    assert len(course.periods) == 10


def test_a_slow_run_has_no_pauses() -> None:
    assert len(course_of([120.0 * number for number in range(30)]).periods) == 1


def test_a_wait_that_is_short_compared_with_the_run_is_not_a_pause() -> None:
    assert len(course_of(steadily(0, 3000, 2) + steadily(3100, 3000, 2)).periods) == 1
    assert len(course_of(steadily(0, 100) + steadily(150, 100)).periods) == 1, "less than a minute"


def test_a_clock_that_is_set_back_loses_no_item() -> None:
    course = course_of([*steadily(0, 10), *steadily(-3600, 10)])
    assert sum(bar.succeeded + bar.failed for part in course.periods for bar in part.bars) == 400


def test_one_item_is_one_bar() -> None:
    course = course_of([0.0], elapsed=0.25)
    assert [len(part.bars) for part in course.periods] == [1]
    assert course.active == 250
    assert Timeline().view() is None
    assert course_of([0.0]).periods[0].bars == (Bar(0, 0, 1),)
