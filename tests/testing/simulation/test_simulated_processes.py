"""Several processes share the load and the endpoint; each has its own client, policies and randomness."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.testing.simulation.recording_policy import RecordingPolicy

from headrace.testing.simulation import (
    BulkLoad,
    ClosedLoad,
    EndpointModel,
    Fixed,
    OpenLoad,
    Outage,
    RateProfile,
    Scenario,
    Variant,
    VariantResult,
    simulate,
)

Ran = Callable[..., VariantResult]


def test_processes_share_an_open_load(run_scenario: Ran) -> None:
    load = OpenLoad(rate=RateProfile(((0.0, 100.0),)))
    run = run_scenario(load=load, processes=5)
    assert run.total.offered == pytest.approx(6000, abs=400)
    assert sum(part.offered for part in run.process_metrics) == run.total.offered
    assert [part.offered for part in run.process_metrics] == pytest.approx([1200] * 5, abs=180)
    assert len({part.offered for part in run.process_metrics}) > 1, "each has its own arrivals"


def test_processes_share_the_customers_of_a_closed_load(run_scenario: Ran) -> None:
    run = run_scenario(load=ClosedLoad(customers=20, think=Fixed(0.9)), processes=3)
    assert [part.offered for part in run.process_metrics] == [7 * 60, 7 * 60, 6 * 60]


def test_processes_with_free_capacity_take_each_bulk_item_once(run_scenario: Ran) -> None:
    run = run_scenario({"max_in_flight": 5}, load=BulkLoad(items=1000), processes=4)
    assert run.total.offered == run.total.served == 1000
    assert run.highest["in_flight"] == 20, "four clients with five tokens each"
    assert [part.served for part in run.process_metrics] == [250] * 4
    cut = run_scenario({"max_in_flight": 1}, load=BulkLoad(items=1000), duration=10.0, processes=2)
    assert cut.total.served == pytest.approx(200, abs=2), "no call begins after the duration"


def test_account_limit_is_shared_by_all_processes(run_scenario: Ran) -> None:
    load = OpenLoad(rate=RateProfile(((0.0, 100.0),)))
    run = run_scenario(load=load, processes=10, duration=120.0, endpoint={"requests_per_minute": 600})
    total = run.total
    assert total.attempts - total.limited == total.served == pytest.approx(600 + 2 * 600, abs=2)
    assert total.limited == total.failures["rate_limited"]
    assert sum(part.failed for part in run.process_metrics) == total.failed


def test_each_process_has_its_own_breaker(run_scenario: Ran) -> None:
    load = OpenLoad(rate=RateProfile(((0.0, 4.0),)))
    settings = {"policies": ["breaker"], "breaker": {"consecutive": 5, "open_for": 100}}
    run = run_scenario(settings, load=load, processes=2, outages=(Outage(from_=10.0, to=100.0),))
    reached = [part.attempts - part.served for part in run.process_metrics]
    assert reached == [5, 5], "of each process five attempts fail until its circuit opens"
    assert sum(run.total.circuit.values()) == pytest.approx(2 * run.total.seconds)
    assert run.total.circuit["open"] > 60


def test_processes_have_different_jitter() -> None:
    def moments() -> list[float]:
        recording_policy = RecordingPolicy()
        scenario = Scenario(
            duration=10.0,
            processes=20,
            load=BulkLoad(items=20),
            endpoint=EndpointModel(capacity=100, service=Fixed(0.1)),
            outages=(Outage(from_=0.0, to=0.1),),
            variants=(Variant("", {"policies": ["retry"], "max_in_flight": 1}),),
        )
        (run,) = simulate(scenario, extra_policies=lambda variant, process: [recording_policy]).runs
        assert run.policies == ("retry", "watching")
        return recording_policy.moments

    first = moments()
    retries = [moment for moment in first if moment > 0]
    assert first[:20] == [0.0] * 20, "all begin at once"
    assert len(set(retries)) == len(retries) >= 20, "and come back one by one"
    assert moments() == first, "the same each time"


def test_answers_have_rate_limit_headers() -> None:
    recording_policy = RecordingPolicy()
    endpoint = EndpointModel(capacity=9, service=Fixed(0.0), requests_per_minute=60, tokens_per_minute=9000)
    scenario = Scenario(
        duration=10.0,
        processes=2,
        load=BulkLoad(items=3),
        endpoint=endpoint,
        variants=(Variant("", {"policies": [], "max_in_flight": 1}),),
    )
    simulate(scenario, extra_policies=lambda variant, process: [recording_policy])
    names = "x-ratelimit-remaining-requests", "x-ratelimit-limit-tokens"
    limits = [tuple(reply.headers.get(name) for name in names) for reply in recording_policy.replies]
    assert sorted(limits) == [("57", "9000"), ("58", "9000"), ("59", "9000")]
