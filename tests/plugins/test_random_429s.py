"""429s at random and of a limit, simulated and over sockets; the long form is a benchmark of that name."""

from __future__ import annotations

from typing import Any

import pytest
from benchmarks.random_429s import ALONE, IN_FLIGHT, SETUPS, EndpointWith429s, over_sockets, scenario

from headrace.testing.simulation import VariantResult, simulate

ALL, ADAPTIVE = [setup for setup in SETUPS if setup != ALONE]


def simulated(setup: str, seconds: float, **endpoint: Any) -> VariantResult:
    """What becomes of a setup's calls in so many seconds of virtual time."""
    (run,) = simulate(scenario(EndpointWith429s(**endpoint), setup, seconds)).runs
    return run


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3])
def test_at_random_429s_the_rate_is_that_of_retry_alone(share: float) -> None:
    alone, everything, adaptive = (
        simulated(setup, 40.0, share=share).total for setup in (ALONE, ALL, ADAPTIVE)
    )
    assert everything.served >= 0.9 * alone.served
    assert adaptive.served >= 0.9 * alone.served
    assert everything.circuit["open"] == adaptive.circuit["open"] == 0.0


@pytest.mark.parametrize("says", [("limits", "retry_after"), ("limits",), ("retry_after",), ()])
@pytest.mark.parametrize("limit", [600, 6000])
def test_at_a_limit_hardly_an_attempt_is_refused(limit: int, says: tuple[str, ...]) -> None:
    total = simulated(ALL, 400.0 if limit == 600 else 60.0, limit=limit, says=says, burst=10.0).total
    assert total.limited <= 0.02 * total.attempts
    assert total.served >= 0.85 * limit / 60 * total.seconds
    assert total.circuit["open"] == 0.0


@pytest.mark.anyio
async def test_at_random_429s_over_sockets() -> None:
    endpoint = EndpointWith429s(share=0.1, mean=0.05)
    rate = await over_sockets(endpoint, ALL, 4.0, in_flight=10)
    # Ten that each take 0.05 s and, one time in ten, a second and a quarter more: 50 a second. A pause for
    # all would leave three.
    assert rate > 15
    assert endpoint.refused > 5


@pytest.mark.anyio
async def test_at_a_limit_over_sockets() -> None:
    endpoint = EndpointWith429s(limit=6000, mean=0.02, burst=0.5)
    await over_sockets(endpoint, ALL, 4.0, in_flight=10)
    assert endpoint.attempts > 200
    assert endpoint.refused <= 0.02 * endpoint.attempts + IN_FLIGHT
