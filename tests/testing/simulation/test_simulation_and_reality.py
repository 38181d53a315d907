"""A short scenario, simulated and over sockets: the counts agree within statistical bounds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from headrace import Client
from headrace.testing.server import Behaviour, endpoint_process
from headrace.testing.simulation import BulkLoad, ErrorBurst, Uniform, VariantResult
from headrace_retry import Retry

pytestmark = pytest.mark.anyio

ITEMS, ERROR_KINDS, ATTEMPTS = 800, 0.25, 3


@pytest.fixture
def simulated(run_scenario: Callable[..., VariantResult]) -> VariantResult:
    return run_scenario(
        {"policies": ["retry"], "retry": {"attempts": ATTEMPTS, "base": 0.01}, "max_in_flight": 40},
        load=BulkLoad(items=ITEMS),
        endpoint={"capacity": 1000, "service": Uniform(0.03, 0.07)},
        errors=(ErrorBurst(to=3600.0, share=ERROR_KINDS, kinds=("500", "503", "reset")),),
    )


async def test_run_over_sockets_matches_the_simulation(simulated: VariantResult) -> None:
    served = failed = attempts = 0
    behaviour = Behaviour(latency=0.05, jitter=0.02, errors=ERROR_KINDS, faults=("500", "503", "reset"))
    async with endpoint_process(behaviour) as endpoint:
        policies = [Retry(attempts=ATTEMPTS, base=0.01)]
        async with Client(
            base_url=endpoint.base_url, api_key="k", model="m", max_in_flight=40, policies=policies
        ) as client:
            questions = (f"Question {number}" for number in range(ITEMS))
            async with client.map(questions) as outcomes:
                async for outcome in outcomes:
                    served += outcome.ok
                    failed += not outcome.ok
                    attempts += outcome.attempts
    total = simulated.total
    assert served + failed == total.served + total.failed == ITEMS
    # Two samples of a binomial distribution differ by less than 5 standard deviations of their difference.
    fail = ERROR_KINDS**ATTEMPTS
    assert abs(failed - total.failed) < 5 * (2 * ITEMS * fail * (1 - fail)) ** 0.5
    # A call makes 1, 2 or 3 attempts; each further attempt is bounded by the variance of its probability.
    again = ERROR_KINDS + ERROR_KINDS**2
    assert abs(attempts - total.attempts) < 5 * (2 * ITEMS * again) ** 0.5
    assert attempts / ITEMS == pytest.approx(1 + again, rel=0.1)
