"""Which calls are hedged, when, and how many: without an event loop."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import Request
from headrace_hedge.decision import (
    MAX_CALLS_SAVED,
    MAX_SAMPLES,
    MIN_SAMPLES,
    HedgeBudget,
    LatencyWindow,
    request_kind,
)

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
def test_requests_that_only_ask_may_be_hedged(method: str, path: str, body: dict[str, Any] | None) -> None:
    assert request_kind(Request(body, path, method)) is not None


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
def test_requests_that_change_something_may_not_be_hedged(
    method: str, path: str, body: dict[str, Any] | None
) -> None:
    assert request_kind(Request(body, path, method)) is None


def test_kind_is_the_model_and_the_path() -> None:
    chat = request_kind(Request(CHAT))
    assert chat == request_kind(Request(CHAT | {"temperature": 1}))
    assert chat != request_kind(Request(CHAT | {"model": "other"}))
    assert chat != request_kind(Request({"model": "m", "input": "?"}, "/embeddings"))
    assert request_kind(Request(None, "/models", "GET")) == request_kind(Request(None, "/files/f_1", "GET"))


def test_percentile_needs_a_hundred_latencies() -> None:
    latencies = LatencyWindow()
    for number in range(1, MIN_SAMPLES):
        latencies.record(number)
    assert latencies.percentile(95) is None
    latencies.record(100)
    assert [latencies.percentile(percent) for percent in (1, 50, 95, 99, 99.9)] == [1, 50, 95, 99, 100]


@given(
    st.lists(st.floats(0, 100), min_size=MIN_SAMPLES, max_size=MAX_SAMPLES + 500),
    st.floats(0.1, 99.9),
)
def test_percentile_is_that_of_the_latest_samples(seen: list[float], percent: float) -> None:
    latencies = LatencyWindow()
    for seconds in seen:
        latencies.record(seconds)
    latest = seen[-MAX_SAMPLES:]
    found = latencies.percentile(percent)
    assert found in latest
    below = sum(seconds < found for seconds in latest)
    not_above = sum(seconds <= found for seconds in latest)
    rank = math.ceil(len(latest) * percent / 100)
    assert below < rank <= not_above


def test_twenty_calls_at_a_share_of_0_05_allow_one_extra_request() -> None:
    budget = HedgeBudget(0.05)
    for _ in range(19):
        budget.deposit()
    assert not budget.try_withdraw()
    budget.deposit()
    assert budget.try_withdraw()
    assert not budget.try_withdraw()


@given(
    share=st.floats(0.001, 1.0),
    runs=st.lists(st.tuples(st.integers(0, 500), st.integers(0, 100)), max_size=30),
)
def test_extra_requests_never_exceed_the_share(share: float, runs: list[tuple[int, int]]) -> None:
    budget, calls, sent = HedgeBudget(share), 0, 0
    for called, wanted in runs:
        for _ in range(called):
            budget.deposit()
        calls += called
        in_a_row = sum(budget.try_withdraw() for _ in range(wanted))
        sent += in_a_row
        assert sent <= share * calls + 1e-6
        assert in_a_row <= share * MAX_CALLS_SAVED + 1e-6
