"""Which endpoint comes next, and which errors another one may mend; without a loop."""

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
from headrace_route.choice import By, choose, goes_elsewhere, has_room, told

A, B, C = ALL = [
    Endpoint("http://a.test", name="a", weight=6),
    Endpoint("http://b.test", name="b", weight=3),
    Endpoint("http://c.test", name="c", weight=1),
]
COSTS = {A: Decimal("0.3"), B: Decimal("0.1"), C: None}


def chosen(by: By, in_flight: dict[Endpoint, int] | None = None, seed: int = 0) -> Endpoint:
    return choose(by, ALL, Counter(in_flight or {}), COSTS.__getitem__, random.Random(seed))


def test_order_is_that_in_which_they_are_named() -> None:
    assert chosen("order", {A: 100}) is A


def test_weights_are_shares() -> None:
    rng = random.Random(1)
    drawn = Counter(choose("weight", ALL, Counter(), COSTS.__getitem__, rng) for _ in range(10_000))
    for endpoint in (A, B, C):
        # Six standard deviations of a share of 0.5 are 0.03.
        assert drawn[endpoint] / 10_000 == pytest.approx(endpoint.weight / 10, abs=0.03)


def test_the_least_in_flight_is_so_for_its_weight() -> None:
    assert chosen("least_in_flight") is A
    assert chosen("least_in_flight", {A: 6}) is B
    assert chosen("least_in_flight", {A: 6, B: 3}) is C
    assert chosen("least_in_flight", {A: 5, B: 2, C: 0}) is A


@given(st.integers(0, 200))
def test_least_in_flight_loads_none_more_than_another_would_be(calls: int) -> None:
    in_flight: Counter[Endpoint] = Counter()
    for _ in range(calls):
        in_flight[choose("least_in_flight", ALL, in_flight, COSTS.__getitem__, random.Random())] += 1
    for one in ALL:
        for other in ALL:
            assert in_flight[one] / one.weight <= (in_flight[other] + 1) / other.weight


def test_the_cheapest_goes_before_those_without_a_price() -> None:
    assert chosen("cost") is B
    assert choose("cost", [A, C], Counter(), COSTS.__getitem__, random.Random()) is A
    assert choose("cost", [C], Counter(), COSTS.__getitem__, random.Random()) is C
    assert choose("cost", [C, B], Counter(), lambda endpoint: None, random.Random()) is C


def test_a_limit_is_the_most_in_flight() -> None:
    limited = Endpoint("http://a.test", max_in_flight=2)
    assert (has_room(limited, 1), has_room(limited, 2), has_room(A, 10**6)) == (True, False, True)


def status(kind: type[StatusError], status: int, *, retryable: bool = False, code: str = "") -> StatusError:
    error = kind("said no", status, None, b"", code)
    error.retryable = retryable
    return error


@pytest.mark.parametrize(
    ("error", "elsewhere"),
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
def test_another_endpoint_may_mend_what_is_not_the_request_s_fault(error: CallError, elsewhere: bool) -> None:
    assert goes_elsewhere(error) is elsewhere


def test_what_is_told_is_the_last_try_or_the_circuit_that_opens_the_soonest() -> None:
    soon, late, failed = CircuitOpen("soon", 3), CircuitOpen("late", 60), CallTimeout("slow")
    assert told([late, soon]) is soon
    assert told([failed, soon]) is failed
    assert told([ConnectError("refused"), failed, late]) is failed
