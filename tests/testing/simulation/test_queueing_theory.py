"""Simulated waiting times and losses agree with queueing theory.

The intervals of a run are used as batches: their means are nearly independent, so their standard error is
known. The theoretical value must be within 3.9 standard errors. With 19 batches, one seed in a thousand would
fail. The seed is fixed, so the test always has the same result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import mean, stdev

import pytest

from headrace.testing.simulation import (
    BulkLoad,
    ClosedLoad,
    Exponential,
    Fixed,
    Interval,
    Lognormal,
    OpenLoad,
    Outage,
    RateProfile,
    Uniform,
    VariantResult,
)

Ran = Callable[..., VariantResult]

BATCHES = 20
CERTAINTY = 3.9


def erlang_c(servers: int, load: float) -> float:
    """The share of arrivals that wait in M/M/c; ``load`` is the arrival rate times the service time."""
    below = sum(load**n / math.factorial(n) for n in range(servers))
    waiting = load**servers / math.factorial(servers) * servers / (servers - load)
    return waiting / (below + waiting)


def loss(servers: int, load: float, queue_length: int) -> float:
    """The share of arrivals that are lost in M/M/c/K with a queue of ``queue_length``."""
    weights = [load**n / math.factorial(n) for n in range(servers + 1)]
    for _ in range(queue_length):
        weights.append(weights[-1] * load / servers)
    return weights[-1] / sum(weights)


def check(batches: list[float], theory: float, most_uncertain: float) -> None:
    deviation = stdev(batches) / math.sqrt(len(batches))
    assert CERTAINTY * deviation < most_uncertain * theory, "the run is too short for a result"
    assert abs(mean(batches) - theory) < CERTAINTY * deviation


def open_load(rate: float) -> OpenLoad:
    return OpenLoad(rate=RateProfile(((0.0, rate),)))


def batches_of(run_scenario: Ran, rate: float, calls: int, **endpoint: object) -> list[Interval]:
    duration = calls / rate
    every = duration / BATCHES
    run = run_scenario(load=open_load(rate), duration=duration, every=every, endpoint=endpoint, seed=3)
    return list(run.intervals[1:BATCHES])  # without the first, in which the queue fills


@pytest.mark.parametrize(("servers", "rate"), [(1, 6.0), (3, 20.0), (10, 70.0)])
def test_waiting_times_match_erlang_c(run_scenario: Ran, servers: int, rate: float) -> None:
    batches = batches_of(run_scenario, rate, 20_000, capacity=servers, service=Exponential(0.1))
    waits = [each.areas["queue"] / each.offered for each in batches]
    load = rate * 0.1
    check(waits, erlang_c(servers, load) * 0.1 / (servers - load), most_uncertain=0.5)


def test_fixed_service_time_halves_the_wait(run_scenario: Ran) -> None:
    batches = batches_of(run_scenario, 8.0, 20_000, capacity=1, service=Fixed(0.1))
    waits = [each.areas["queue"] / each.offered for each in batches]
    check(waits, 0.8 / 2 * 0.1 / (1 - 0.8), most_uncertain=0.3)  # Pollaczek and Khinchine


def test_losses_match_a_bounded_queue(run_scenario: Ran) -> None:
    batches = batches_of(run_scenario, 50.0, 20_000, capacity=5, service=Exponential(0.1), queue=4)
    lost = [each.failed / each.offered for each in batches]
    check(lost, loss(5, 5.0, 4), most_uncertain=0.3)


@pytest.mark.parametrize(
    ("load", "service"),
    [
        (open_load(30.0), Lognormal(0.8, 2.0)),
        (ClosedLoad(customers=50, think=Exponential(1.0)), Uniform(0.5, 1.5)),
        (BulkLoad(items=1000), Exponential(0.5)),
    ],
)
def test_littles_law_holds_with_failures_waits_and_retries(
    run_scenario: Ran, load: object, service: object
) -> None:
    settings = {"policies": ["retry", "breaker"], "max_in_flight": 40, "timeout": 3}
    endpoint = {"capacity": 30, "service": service, "queue": 20, "round_trip": 0.02}
    outages = (Outage(from_=20, to=30, kind="hang"),)
    run = run_scenario(settings, load=load, endpoint=endpoint, outages=outages)
    levels, calls = run.littles_law
    assert levels == pytest.approx(calls, rel=1e-9)
    assert levels > 1
    assert run.total.offered == run.total.served + run.total.failed
