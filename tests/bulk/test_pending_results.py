"""Which answers make a held failure final."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.bulk import ItemResult
from headrace.bulk.pending_results import PendingResults
from headrace.errors import ConnectError, StatusError


def answered(number: int) -> ItemResult:
    return ItemResult(number, b"answer\n", answered=True, number=number)


def refused(number: int) -> ItemResult:
    return ItemResult(
        number, b"refused\n", code=ConnectError.code, message="connection refused", number=number
    )


def rejected(number: int) -> ItemResult:
    return ItemResult(number, b"404\n", code=StatusError.code, status=404, number=number)


@pytest.mark.parametrize("answer", [answered, rejected])
def test_an_answer_to_a_call_that_began_before_a_failure_does_not_make_it_final(
    answer: Callable[[int], ItemResult],
) -> None:
    pending = PendingResults()
    first, second = pending.begin(), pending.begin()
    failure, late = refused(first), answer(second)
    assert pending.add([failure]) == []
    assert pending.add([late]) == [late]
    third = answer(pending.begin())
    assert pending.add([third]) == [failure, third]


def test_a_failure_is_final_when_no_call_is_in_flight() -> None:
    pending = PendingResults()
    failure = refused(pending.begin())
    assert pending.add([failure]) == []
    assert pending.end_pass(exhausted=True) == [failure]


@given(calls=st.integers(1, 60), down_from=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_no_failure_of_an_outage_is_final_while_the_endpoint_is_down(
    calls: int, down_from: float, seed: int
) -> None:
    """Results are reported late and in any order, as by several processes."""
    rng = random.Random(seed)
    begins = sorted(rng.random() for _ in range(calls))
    ends = [begin + rng.random() / 4 for begin in begins]
    reports = [end + rng.random() / 2 for end in ends]
    events = sorted(
        [(time, 0, n) for n, time in enumerate(begins)] + [(time, 1, n) for n, time in enumerate(reports)]
    )
    pending, numbers, written = PendingResults(), dict[int, int](), list[bytes]()
    for _, kind, n in events:
        if kind == 0:
            numbers[n] = pending.begin()
        else:
            up = ends[n] < down_from
            written += [
                each.line for each in pending.add([answered(numbers[n]) if up else refused(numbers[n])])
            ]
    assert b"refused\n" not in written


@given(st.lists(st.booleans(), max_size=200), st.randoms(use_true_random=False))
def test_each_result_is_written_once(succeeds: list[bool], rng: random.Random) -> None:
    pending, in_flight, written = PendingResults(), list[int](), list[int]()
    for _ in succeeds:
        in_flight.append(pending.begin())
    rng.shuffle(in_flight)
    for number, success in zip(list(in_flight), succeeds, strict=True):
        written += [each.number for each in pending.add([(answered if success else refused)(number)])]
        if rng.random() < 0.5:
            later = pending.begin()
            written += [each.number for each in pending.add([answered(later)])]
            in_flight.append(later)
    written += [each.number for each in pending.end_pass(exhausted=True)]
    assert sorted(written) == sorted(in_flight)
