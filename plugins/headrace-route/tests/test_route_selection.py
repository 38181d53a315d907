"""Which endpoint is selected, and which errors fail over; without an event loop."""

from __future__ import annotations

import random
from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import (
    AnswerError,
    AuthenticationError,
    BudgetExceeded,
    CallError,
    CallTimeout,
    CircuitOpen,
    ConnectError,
    DeadlineExceeded,
    Endpoint,
    InvalidReply,
    LocalResourceError,
    RateLimited,
    ServerError,
    StatusError,
    TLSError,
)
from headrace_route.selection import Strategy, can_fail_over, error_to_raise, has_capacity, select_endpoint

A, B, C = ALL = [
    Endpoint("http://a.test", name="a", weight=6),
    Endpoint("http://b.test", name="b", weight=3),
    Endpoint("http://c.test", name="c", weight=1),
]
COSTS = {A: Decimal("0.3"), B: Decimal("0.1"), C: None}


def selected(by: Strategy, in_flight: dict[Endpoint, int] | None = None, seed: int = 0) -> Endpoint:
    return select_endpoint(by, ALL, Counter(in_flight or {}), COSTS.__getitem__, random.Random(seed))


def test_order_selects_the_first_endpoint() -> None:
    assert selected("order", {A: 100}) is A


def test_weights_are_shares_of_the_calls() -> None:
    rng = random.Random(1)
    drawn = Counter(select_endpoint("weight", ALL, Counter(), COSTS.__getitem__, rng) for _ in range(10_000))
    for endpoint in (A, B, C):
        # Six standard deviations of a share of 0.5 are 0.03.
        assert drawn[endpoint] / 10_000 == pytest.approx(endpoint.weight / 10, abs=0.03)


def test_least_in_flight_is_relative_to_weight() -> None:
    assert selected("least_in_flight") is A
    assert selected("least_in_flight", {A: 6}) is B
    assert selected("least_in_flight", {A: 6, B: 3}) is C
    assert selected("least_in_flight", {A: 5, B: 2, C: 0}) is A


@given(st.integers(0, 200))
def test_least_in_flight_balances_the_load(calls: int) -> None:
    in_flight: Counter[Endpoint] = Counter()
    for _ in range(calls):
        in_flight[select_endpoint("least_in_flight", ALL, in_flight, COSTS.__getitem__, random.Random())] += 1
    for one in ALL:
        for other in ALL:
            assert in_flight[one] / one.weight <= (in_flight[other] + 1) / other.weight


def test_cost_selects_the_cheapest_and_endpoints_without_a_price_last() -> None:
    assert selected("cost") is B
    assert select_endpoint("cost", [A, C], Counter(), COSTS.__getitem__, random.Random()) is A
    assert select_endpoint("cost", [C], Counter(), COSTS.__getitem__, random.Random()) is C
    assert select_endpoint("cost", [C, B], Counter(), lambda endpoint: None, random.Random()) is C


def test_an_endpoint_has_capacity_below_its_limit() -> None:
    limited = Endpoint("http://a.test", max_in_flight=2)
    assert (has_capacity(limited, 1), has_capacity(limited, 2), has_capacity(A, 10**6)) == (True, False, True)


def status(kind: type[StatusError], status: int, *, retryable: bool = False, code: str = "") -> StatusError:
    error = kind("said no", status, None, b"", code)
    error.retryable = retryable
    return error


@pytest.mark.parametrize(
    ("error", "fails_over"),
    [
        (ConnectError("refused"), True),
        (TLSError("bad certificate"), True),
        (CallTimeout("slow"), True),
        (DeadlineExceeded("late"), False),
        (CircuitOpen("open", 5), True),
        (status(ServerError, 503, retryable=True), True),
        (status(RateLimited, 429, retryable=True), True),
        (status(RateLimited, 429, code="insufficient_quota"), True),
        (status(RateLimited, 429), True),
        (status(ServerError, 501), True),
        (StatusError("no credit", 402, limit="quota"), True),
        (status(AuthenticationError, 401), True),
        (status(StatusError, 404), True),
        (status(StatusError, 400), False),
        (status(StatusError, 413), False),
        (InvalidReply("HTML"), True),
        (AnswerError("none of the choices"), False),
        (BudgetExceeded("spent"), False),
        (LocalResourceError("no file left"), False),
    ],
    ids=lambda value: str(value),
)
def test_only_errors_that_another_endpoint_may_not_repeat_fail_over(
    error: CallError, fails_over: bool
) -> None:
    assert can_fail_over(error) is fails_over


def test_the_error_raised_is_the_last_one_or_the_circuit_that_closes_first() -> None:
    soon, late, failed = CircuitOpen("soon", 3), CircuitOpen("late", 60), CallTimeout("slow")
    assert error_to_raise([late, soon]) is soon
    assert error_to_raise([failed, soon]) is failed
    assert error_to_raise([ConnectError("refused"), failed, late]) is failed
