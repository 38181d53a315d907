"""headrace-redis in many simulated processes: the limit holds for all of them, and each has its turn."""

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

A_SECOND = 10
BURST = 1.0


def shared(
    processes: int, items: int, *errors: ErrorBurst
) -> tuple[VariantResult, RedisModel, list[list[float]]]:
    """What comes of a limit of ten a second, with two calls in flight in each process.

    The last value is when the attempts of each process were made.
    """
    redis_model, recording_policy = (
        RedisModel(round_trip=0.001, service=0.0001),
        [RecordingPolicy() for _ in range(processes)],
    )
    account = Account(url="redis://simulated", requests_per_minute=60 * A_SECOND, burst=BURST)

    def extra_policies(variant: Variant, process: int) -> Iterable[Policy]:
        return [redis_model.policy(account), recording_policy[process]]

    scenario = Scenario(
        duration=1000.0,
        processes=processes,
        load=BulkLoad(items=items),
        endpoint=EndpointModel(capacity=1000, service=Fixed(1.0), round_trip=0.02),
        errors=errors,
        variants=(Variant("", {"policies": ["retry"], "max_in_flight": 2}),),
    )
    (run,) = simulate(scenario, extra_policies=extra_policies).runs
    return run, redis_model, [each.moments for each in recording_policy]


def in_order(went: list[list[float]]) -> list[float]:
    return sorted(itertools.chain(*went))


@pytest.mark.parametrize("processes", [8, 100])
def test_the_limit_holds_in_sum_and_nothing_of_it_is_left(processes: int) -> None:
    run, _, went = shared(processes, 500)
    moments = in_order(went)
    assert run.total.served == 500
    for begin in range(0, 500, 20):
        for end in range(begin, 500, 20):
            span = moments[end] - moments[begin] + BURST + BOOKING_TTL
            assert end - begin + 1 <= span * A_SECOND + 1
    assert moments[-1] <= (500 / A_SECOND) + 1


def test_many_processes_take_turns_and_ask_hardly_more_often_than_there_are_calls() -> None:
    items = 2000
    run, redis_model, went = shared(100, items)
    assert run.total.served == items
    # As long as there are items that no process holds: until then all have something to do.
    assert {sum(moment < 100.0 for moment in each) for each in went} <= {9, 10, 11}
    assert max(each[0] for each in went) <= 100 / A_SECOND + 5
    looks = 100 * in_order(went)[-1] / MAX_EXCHANGE_INTERVAL
    assert redis_model.exchanges <= 1.2 * items + looks
    assert redis_model.without_turn <= 2 * 100


def test_where_all_is_refused_all_pause_and_go_on_when_it_is_over() -> None:
    refusing = ErrorBurst(from_=20.0, to=30.0, share=1.0, kinds=("429",))
    run, _, went = shared(4, 600, refusing)
    moments = in_order(went)
    assert run.total.served + run.total.failed == 600
    before = sum(14.0 <= moment < 20.0 for moment in moments)
    assert sum(24.0 <= moment < 30.0 for moment in moments) <= 0.65 * before, "once it is clear"
    assert sum(40.0 <= moment < 46.0 for moment in moments) == pytest.approx(before, abs=2)


def test_a_few_refusals_pause_nobody_else() -> None:
    refusing = ErrorBurst(from_=20.0, to=20.5, share=1.0, kinds=("429",))
    run, _, went = shared(100, 600, refusing)
    moments = in_order(went)
    assert run.total.served == 600
    assert run.total.limited <= A_SECOND * (0.5 + HORIZON) + 2
    during = sum(20.0 <= moment < 25.0 for moment in moments)
    later = sum(25.0 <= moment < 55.0 for moment in moments)
    assert during == pytest.approx(5 * A_SECOND, rel=0.1)
    assert later == pytest.approx(30 * A_SECOND, rel=0.05)


def test_who_comes_together_waits_for_the_thread() -> None:
    redis_model = RedisModel(round_trip=0.0, service=0.5)
    assert [redis_model.turn(now) for now in (1.0, 1.0, 1.25, 9.0)] == [1.5, 2.0, 2.5, 9.5]
    assert redis_model.delays.percentile(100) == pytest.approx(0.75, rel=0.1)
