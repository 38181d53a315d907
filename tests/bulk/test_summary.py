"""Running totals."""

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace._support.histogram import LatencyHistogram
from headrace.bulk.item_result import ItemResult, item_result
from headrace.bulk.summary import Summary
from headrace.bulk.summary_json import summary_values
from headrace.bulk.summary_text import describe
from headrace.bulk.summary_totals import decode_totals, encode_totals
from headrace.calls import Outcome
from headrace.errors import AnswerError, ConnectError, StatusError
from headrace.replies import Headers, Reply, Usage


@given(st.lists(st.floats(0.0001, 1000), min_size=1), st.sampled_from([50, 95, 99, 100]))
def test_percentiles_have_an_error_of_at_most_one_percent(values: list[float], percent: int) -> None:
    latencies = LatencyHistogram()
    for value in values:
        latencies.add(value)
    exact = sorted(values)[-(-len(values) * percent // 100) - 1]
    assert latencies.percentile(percent) == pytest.approx(exact, rel=0.0101)
    assert latencies.mean == pytest.approx(sum(values) / len(values))


@given(st.lists(st.floats(0.0001, 1000)), st.integers(1, 60))
def test_a_distribution_has_each_latency_in_one_of_few_buckets(values: list[float], most: int) -> None:
    latencies = LatencyHistogram()
    for value in values:
        latencies.add(value)
    buckets = latencies.distribution(most)
    assert len(buckets) <= most
    assert sum(count for *_, count in buckets) == len(values)
    for low, high, count in buckets:
        assert count == pytest.approx(
            sum(low <= value < high for value in values), abs=_edges(values, low, high)
        )
    assert all(earlier[1] <= later[0] * 1.0001 for earlier, later in pairwise(buckets))


def _edges(values: list[float], *edges: float) -> int:
    """How many are so close to the edge of a bucket that rounding decides."""
    return sum(abs(value / edge - 1) < 1e-9 for value in values for edge in edges)


def test_totals_add_up() -> None:
    summary = Summary(10, done_before=3, failed_before=1)
    good = Reply(200, Headers([]), b"{}", Usage(10, 5, 15), cost=Decimal("0.1"))
    unpriced = Reply(200, Headers([]), b"{}", Usage(1, 2, 3))
    for outcome in (
        Outcome(0, None, good, None, 1, 0.5),
        Outcome(1, None, unpriced, None, 3, 0.5),
        Outcome(2, None, None, ConnectError("refused"), 2, 9.0),
    ):
        summary.add(item_result(outcome.index, "x", outcome, ()))
    no_text = Outcome(3, None, good, None, 1, 0.5)
    summary.add(item_result(3, "x", no_text, ["Garten"]))
    assert (summary.succeeded, summary.failed, summary.done, summary.left) == (2, 2, 7, 3)
    assert summary.failures == {"connect_error": 1, "invalid_reply": 1}
    assert (summary.prompt_tokens, summary.completion_tokens) == (21, 12)
    assert summary.cost == Decimal("0.2")
    assert (summary.unpriced, summary.retries) == (1, 3)
    assert summary.latencies.count == 3, "a call that failed has no latency"


def test_failures_are_grouped_by_code_and_status_most_frequent_first() -> None:
    summary, other = Summary(10), Summary(10)
    for place, (status, message) in enumerate([(404, "a"), (413, "b"), (413, "c"), (500, "d")]):
        error = StatusError(message, status)
        result = item_result(place, "x", Outcome(place, None, None, error, 1, 0.1), ())
        (other if status == 500 else summary).add(result)
    other.add(item_result(4, "x", Outcome(4, None, None, StatusError("e", 404), 1, 0.1), ()))
    summary.merge(other)
    assert [(group.status, group.number, group.message) for group in summary.failure_groups] == [
        (404, 2, "a"),
        (413, 2, "b"),
        (500, 1, "d"),
    ]
    assert summary.failures == {"status_error": 5}
    text = describe(summary)
    assert "  failures   2 status_error 404: a\n             2 status_error 413: b\n" in text


def test_a_message_in_the_summary_is_one_short_printable_line() -> None:
    summary = Summary(1)
    error = StatusError("\x1b[2J" + "long\n" * 100, 400)
    summary.add(item_result(0, "x", Outcome(0, None, None, error, 1, 0.1), ()))
    line = next(line for line in describe(summary).splitlines() if "failures" in line)
    assert "\x1b" not in line
    assert line.endswith("…")
    assert len(line) < 250


def test_an_empty_summary_has_zeros_and_no_cost() -> None:
    summary = Summary(0)
    assert summary.rate == summary.latencies.mean == summary.latencies.percentile(99) == 0
    assert summary.cost is None


_RESULTS = st.builds(
    ItemResult,
    st.just(0),
    attempts=st.integers(0, 4),
    elapsed=st.floats(0, 1000),
    answered=st.booleans(),
    prompt_tokens=st.integers(0, 9),
    cost=st.none() | st.decimals(0, 1, places=6),
    possible_cost=st.none() | st.decimals(0, 1, places=6),
    code=st.sampled_from([None, "timeout", AnswerError.code]),
    status=st.sampled_from([None, 500]),
    finish_reason=st.sampled_from([None, "stop", "length"]),
    message=st.text(),
)


@given(st.lists(st.lists(_RESULTS), max_size=4))
def test_totals_of_several_processes_are_those_of_one(processes: list[list[ItemResult]]) -> None:
    expected, merged = Summary(0), Summary(0)
    for results in processes:
        part = Summary(0)
        for result in results:
            part.add(result)
        expected.merge(part)
        merged.merge(decode_totals(encode_totals(part)))
    assert summary_values(merged) == summary_values(expected)
