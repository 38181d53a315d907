"""Which calls are hedged, when, and how many: without a loop."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import Request
from headrace_hedge.decision import ENOUGH, REMEMBERED, Allowance, Latencies, kind_of

CHAT = {"model": "m", "messages": []}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/chat/completions", CHAT),
        ("POST", "/completions", {"model": "m", "prompt": "?"}),
        ("POST", "/embeddings", {"model": "m", "input": "?"}),
        ("POST", "/responses", {"model": "m", "input": "?"}),
        ("POST", "/responses", {"model": "m", "input": "?", "background": False}),
        ("POST", "/v1/chat/completions", CHAT),
        ("POST", "/deployments/m/chat/completions?api-version=1", CHAT),
        ("GET", "/models", None),
        ("GET", "/batches/b_1", None),
    ],
)
def test_what_only_asks_may_be_sent_twice(method: str, path: str, body: dict[str, Any] | None) -> None:
    assert kind_of(Request(body, path, method)) is not None


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/files", None),
        ("POST", "/batches", {"input_file_id": "f"}),
        ("POST", "/fine_tuning/jobs", {"model": "m"}),
        ("POST", "/images/generations", {"model": "m"}),
        ("POST", "/responses/r_1/cancel", None),
        ("POST", "/responses", {"model": "m", "input": "?", "background": True}),
        ("POST", "/responses", {"model": "m", "input": "?", "conversation": "c_1"}),
        ("POST", "/files?name=/completions", None),
        ("DELETE", "/files/f_1", None),
        ("PUT", "/chat/completions", CHAT),
        ("HEAD", "/models", None),
    ],
)
def test_what_makes_or_ends_something_may_not(method: str, path: str, body: dict[str, Any] | None) -> None:
    assert kind_of(Request(body, path, method)) is None


def test_latencies_are_compared_within_a_model_and_path() -> None:
    chat = kind_of(Request(CHAT))
    assert chat == kind_of(Request(CHAT | {"temperature": 1}))
    assert chat != kind_of(Request(CHAT | {"model": "other"}))
    assert chat != kind_of(Request({"model": "m", "input": "?"}, "/embeddings"))
    assert kind_of(Request(None, "/models", "GET")) == kind_of(Request(None, "/files/f_1", "GET"))


def test_a_percentile_needs_a_hundred_latencies() -> None:
    latencies = Latencies()
    for number in range(1, ENOUGH):
        latencies.add(number)
    assert latencies.percentile(95) is None
    latencies.add(100)
    assert [latencies.percentile(percent) for percent in (1, 50, 95, 99, 99.9)] == [1, 50, 95, 99, 100]


@given(
    st.lists(st.floats(0, 100), min_size=ENOUGH, max_size=REMEMBERED + 500),
    st.floats(0.1, 99.9),
)
def test_a_percentile_is_that_of_the_latest_by_its_definition(seen: list[float], percent: float) -> None:
    latencies = Latencies()
    for seconds in seen:
        latencies.add(seconds)
    latest = seen[-REMEMBERED:]
    found = latencies.percentile(percent)
    assert found in latest
    below = sum(seconds < found for seconds in latest)
    not_above = sum(seconds <= found for seconds in latest)
    rank = math.ceil(len(latest) * percent / 100)
    assert below < rank <= not_above


def test_a_twentieth_of_twenty_calls_is_one() -> None:
    allowance = Allowance(0.05)
    for _ in range(19):
        allowance.called()
    assert not allowance.take()
    allowance.called()
    assert allowance.take()
    assert not allowance.take()


@given(
    share=st.floats(0.001, 1.0),
    runs=st.lists(st.tuples(st.integers(0, 500), st.integers(0, 100)), max_size=30),
)
def test_never_more_than_the_share_and_no_more_saved_than_that_of_a_thousand(
    share: float, runs: list[tuple[int, int]]
) -> None:
    allowance, calls, sent = Allowance(share), 0, 0
    for called, wanted in runs:
        for _ in range(called):
            allowance.called()
        calls += called
        in_a_row = sum(allowance.take() for _ in range(wanted))
        sent += in_a_row
        assert sent <= share * calls + 1e-6
        assert in_a_row <= share * REMEMBERED + 1e-6
