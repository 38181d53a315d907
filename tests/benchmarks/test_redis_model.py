"""headrace-redis in many simulated processes: they keep the limit together, and each gets its turn."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
from benchmarks.redis_model import RedisModel
from tests.testing.simulation.recording_policy import RecordingPolicy

from headrace import Policy
from headrace.testing.simulation import (
    BulkLoad,
    EndpointModel,
    ErrorBurst,
    Fixed,
    Scenario,
    Variant,
    VariantResult,
    simulate,
)
from headrace_redis import Account
from headrace_redis.shared_lane import BOOKING_TTL, MAX_EXCHANGE_INTERVAL
from headrace_redis.turns import HORIZON

PER_SECOND = 10
BURST = 1.0


def simulate_limit(
    processes: int, items: int, *errors: ErrorBurst
) -> tuple[VariantResult, RedisModel, list[list[float]]]:
    """Simulate a limit of ten calls per second, with two calls in flight in each process.

    The last value has the times of the attempts of each process.
    """
    redis_model, recorders = (
        RedisModel(round_trip=0.001, service=0.0001),
        [RecordingPolicy() for _ in range(processes)],
    )
    account = Account(url="redis://simulated", requests_per_minute=60 * PER_SECOND, burst=BURST)

    def extra_policies(variant: Variant, process: int) -> Iterable[Policy]:
        return [redis_model.policy(account), recorders[process]]

    scenario = Scenario(
        duration=1000.0,
        processes=processes,
        load=BulkLoad(items=items),
        endpoint=EndpointModel(capacity=1000, service=Fixed(1.0), round_trip=0.02),
        errors=errors,
        variants=(Variant("", {"policies": ["retry"], "max_in_flight": 2}),),
    )
    (run,) = simulate(scenario, extra_policies=extra_policies).runs
    return run, redis_model, [each.moments for each in recorders]


def merge_times(attempt_times: list[list[float]]) -> list[float]:
    return sorted(itertools.chain(*attempt_times))


@pytest.mark.parametrize("processes", [8, 100])
def test_all_processes_together_use_the_limit_exactly(processes: int) -> None:
    run, _, attempt_times = simulate_limit(processes, 500)
    moments = merge_times(attempt_times)
    assert run.total.served == 500
    for begin in range(0, 500, 20):
        for end in range(begin, 500, 20):
            span = moments[end] - moments[begin] + BURST + BOOKING_TTL
            assert end - begin + 1 <= span * PER_SECOND + 1
    assert moments[-1] <= (500 / PER_SECOND) + 1


def test_many_processes_take_turns_with_few_exchanges() -> None:
    items = 2000
    run, redis_model, attempt_times = simulate_limit(100, items)
    assert run.total.served == items
    # Until 100 s all processes have items to do.
    assert {sum(moment < 100.0 for moment in each) for each in attempt_times} <= {9, 10, 11}
    assert max(each[0] for each in attempt_times) <= 100 / PER_SECOND + 5
    idle_exchanges = 100 * merge_times(attempt_times)[-1] / MAX_EXCHANGE_INTERVAL
    assert redis_model.exchanges <= 1.2 * items + idle_exchanges
    assert redis_model.without_turn <= 2 * 100


def test_all_processes_pause_while_all_requests_get_429() -> None:
    burst_of_429s = ErrorBurst(from_=20.0, to=30.0, share=1.0, kinds=("429",))
    run, _, attempt_times = simulate_limit(4, 600, burst_of_429s)
    moments = merge_times(attempt_times)
    assert run.total.served + run.total.failed == 600
    before = sum(14.0 <= moment < 20.0 for moment in moments)
    assert sum(24.0 <= moment < 30.0 for moment in moments) <= 0.65 * before, (
        "after the 429s have been detected"
    )
    assert sum(40.0 <= moment < 46.0 for moment in moments) == pytest.approx(before, abs=2)


def test_few_429s_do_not_pause_other_calls() -> None:
    burst_of_429s = ErrorBurst(from_=20.0, to=20.5, share=1.0, kinds=("429",))
    run, _, attempt_times = simulate_limit(100, 600, burst_of_429s)
    moments = merge_times(attempt_times)
    assert run.total.served == 600
    assert run.total.limited <= PER_SECOND * (0.5 + HORIZON) + 2
    during = sum(20.0 <= moment < 25.0 for moment in moments)
    later = sum(25.0 <= moment < 55.0 for moment in moments)
    assert during == pytest.approx(5 * PER_SECOND, rel=0.1)
    assert later == pytest.approx(30 * PER_SECOND, rel=0.05)


def test_concurrent_exchanges_wait_for_the_thread() -> None:
    redis_model = RedisModel(round_trip=0.0, service=0.5)
    assert [redis_model.turn(now) for now in (1.0, 1.0, 1.25, 9.0)] == [1.5, 2.0, 2.5, 9.5]
    assert redis_model.delays.percentile(100) == pytest.approx(0.75, rel=0.1)
