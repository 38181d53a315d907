"""Open, closed and bulk loads, changing rates, and calls that stand for several."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.testing.simulation import (
    BulkLoad,
    ClosedLoad,
    Exponential,
    Fixed,
    Lognormal,
    OpenLoad,
    Outage,
    RateProfile,
    Uniform,
    VariantResult,
)

Ran = Callable[..., VariantResult]


def test_rate_can_be_constant_or_have_ramps_and_steps() -> None:
    profile = RateProfile(
        ((10.0, 0.0), (20.0, 100.0), (30.0, 100.0), (30.0, 20.0), (40.0, 60.0), (50.0, 20.0))
    )
    times = (0, 10, 15, 20, 29.9, 30, 35, 40, 45, 60)
    assert [profile.at(time) for time in times] == pytest.approx([0, 0, 50, 100, 100, 20, 40, 60, 40, 20])
    assert profile.highest == 100


@given(st.integers(0, 1000))
def test_arrivals_are_in_order_and_follow_the_rate(seed: int) -> None:
    profile = RateProfile(((0.0, 0.0), (100.0, 40.0)))
    moments = list(profile.arrivals(Random(seed), 100.0, divided_by=2))
    assert moments == sorted(moments)
    assert all(0 <= moment < 100 for moment in moments)
    assert len(moments) == pytest.approx(1000, abs=5 * 1000**0.5)
    early = sum(moment < 50 for moment in moments)
    assert early == pytest.approx(250, abs=5 * 250**0.5)


@pytest.mark.parametrize(
    ("distribution", "mean", "p95"),
    [
        (Fixed(0.8), 0.8, 0.8),
        (Exponential(0.8), 0.8, 0.8 * 2.9957),
        (Lognormal(0.8, 2.0), 0.8, 2.0),
        (Uniform(0.2, 1.4), 0.8, 1.34),
    ],
)
def test_distributions_have_their_mean_and_percentile(
    distribution: Fixed | Exponential | Lognormal | Uniform, mean: float, p95: float
) -> None:
    rng = Random(1)
    drawn = sorted(distribution.draw(rng) for _ in range(40_000))
    assert sum(drawn) / len(drawn) == pytest.approx(mean, rel=0.03)
    assert drawn[int(len(drawn) * 0.95)] == pytest.approx(p95, rel=0.05)
    assert distribution.mean == pytest.approx(mean)


def test_open_load_does_not_depend_on_answers(run_scenario: Ran) -> None:
    whole = run_scenario()
    none_served = run_scenario(outages=(Outage(from_=0, to=100),))
    assert [each.offered for each in none_served.intervals[:6]] == [
        each.offered for each in whole.intervals[:6]
    ]


def test_open_load_follows_its_rate(run_scenario: Ran) -> None:
    load = OpenLoad(rate=RateProfile(((0.0, 10.0), (30.0, 10.0), (30.0, 100.0))))
    run = run_scenario(load=load)
    assert all(each.offered < 160 for each in run.intervals[:3])
    assert all(each.offered > 850 for each in run.intervals[3:6])


def test_closed_load_customers_wait_for_their_answers(run_scenario: Ran) -> None:
    load = ClosedLoad(customers=20, think=Fixed(0.9))
    run = run_scenario(load=load)
    assert run.highest["in_flight"] <= 20
    assert run.total.offered == 20 * 60, "one second each, of thinking and answering"
    slow = run_scenario(load=load, endpoint={"capacity": 1})
    assert slow.total.served == pytest.approx(600, abs=20), "as many as one server can do"
    assert slow.highest["in_flight"] <= 20


def test_bulk_load_keeps_max_in_flight_until_all_items_are_done(run_scenario: Ran) -> None:
    run = run_scenario({"max_in_flight": 25}, load=BulkLoad(items=1000))
    assert run.total.offered == run.total.served == 1000
    assert run.highest["in_flight"] == run.highest["busy"] == 25
    assert run.intervals[-1].end == pytest.approx(1000 / 25 * 0.1)
    cut = run_scenario({"max_in_flight": 1}, load=BulkLoad(items=1000), duration=10.0)
    assert cut.total.served == pytest.approx(100, abs=1), "no call begins after the duration"


def test_client_with_low_max_in_flight_is_the_bottleneck(run_scenario: Ran) -> None:
    run = run_scenario({"max_in_flight": 1}, endpoint={"service": Fixed(0.2)})
    assert run.highest["busy"] == 1
    assert run.total.latencies.percentile(50) > 5, "the wait for a token counts"
    assert run.intervals[-1].end > 100, "calls in flight are finished"


def test_calls_fail_at_the_deadline_of_their_load(run_scenario: Ran) -> None:
    load = OpenLoad(rate=RateProfile(((0.0, 10.0),)), deadline=0.05)
    assert run_scenario(load=load).total.failures.keys() == {"deadline_exceeded"}


def test_stands_for_scales_counts_but_not_delays(run_scenario: Ran) -> None:
    load = OpenLoad(rate=RateProfile(((0.0, 1000.0),)))
    endpoint = {"capacity": 1000, "requests_per_minute": 24_000, "queue": 100}
    run = run_scenario(load=load, endpoint=endpoint, stands_for=100)
    assert run.total.offered == pytest.approx(600, abs=100)
    assert run.total.served == pytest.approx(480, abs=5)
    assert run.total.latencies.percentile(50) == pytest.approx(0.1, rel=0.02)


def test_stands_for_divides_load_and_endpoint_but_not_settings(run_scenario: Ran) -> None:
    run = run_scenario({"max_in_flight": 25}, load=BulkLoad(items=10_000), stands_for=10)
    assert run.total.offered == 1000
    assert run.highest["busy"] == 10, "of 100 servers, for 25 calls in flight"
    assert run.highest["in_flight"] == 25
