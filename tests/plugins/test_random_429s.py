"""Random 429s and 429s of a rate limit, simulated and over sockets. The benchmark runs longer."""

from __future__ import annotations

from typing import Any

import pytest
from benchmarks.random_429s import ALONE, IN_FLIGHT, SETUPS, EndpointWith429s, over_sockets, scenario

from headrace.testing.simulation import VariantResult, simulate

ALL, ADAPTIVE = [setup for setup in SETUPS if setup != ALONE]


def simulated(setup: str, seconds: float, **endpoint: Any) -> VariantResult:
    """Simulate the calls of a setup for this number of seconds."""
    (run,) = simulate(scenario(EndpointWith429s(**endpoint), setup, seconds)).runs
    return run


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3])
def test_random_429s_do_not_lower_the_rate_of_retry_alone(share: float) -> None:
    alone, everything, adaptive = (
        simulated(setup, 25.0, share=share).total for setup in (ALONE, ALL, ADAPTIVE)
    )
    assert everything.served >= 0.9 * alone.served
    assert adaptive.served >= 0.9 * alone.served
    assert everything.circuit["open"] == adaptive.circuit["open"] == 0.0


@pytest.mark.parametrize("says", [("limits", "retry_after"), ("limits",), ("retry_after",), ()])
@pytest.mark.parametrize("limit", [600, 6000])
def test_few_attempts_get_429_at_a_limit(limit: int, says: tuple[str, ...]) -> None:
    total = simulated(ALL, 400.0 if limit == 600 else 60.0, limit=limit, says=says, burst=10.0).total
    assert total.limited <= 0.02 * total.attempts
    assert total.served >= 0.85 * limit / 60 * total.seconds
    assert total.circuit["open"] == 0.0


@pytest.mark.anyio
async def test_random_429s_over_sockets() -> None:
    endpoint = EndpointWith429s(share=0.1, mean=0.05)
    rate = await over_sockets(endpoint, ALL, 4.0, in_flight=10)
    # Ten calls in flight of 0.05 s each, and with a probability of 0.1 another 1.25 s: 50 per second. If each
    # 429 paused all calls, there would be three per second.
    assert rate > 15
    assert endpoint.refused > 5


@pytest.mark.anyio
async def test_limit_over_sockets() -> None:
    endpoint = EndpointWith429s(limit=6000, mean=0.02, burst=0.5)
    await over_sockets(endpoint, ALL, 4.0, in_flight=10)
    assert endpoint.attempts > 200
    assert endpoint.refused <= 0.02 * endpoint.attempts + IN_FLIGHT
