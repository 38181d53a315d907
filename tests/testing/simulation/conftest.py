"""A fixture for short scenarios."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from headrace.testing.simulation import (
    EndpointModel,
    Fixed,
    OpenLoad,
    RateProfile,
    Scenario,
    Variant,
    VariantResult,
    simulate,
)


def _run_scenario(
    settings: dict[str, Any] | None = None, *, endpoint: dict[str, Any] | None = None, **more: Any
) -> VariantResult:
    scenario = Scenario(
        duration=more.pop("duration", 60.0),
        every=more.pop("every", 10.0),
        load=more.pop("load", OpenLoad(rate=RateProfile(((0.0, 10.0),)))),
        endpoint=attrs.evolve(EndpointModel(capacity=100, service=Fixed(0.1)), **(endpoint or {})),
        variants=(Variant("", {"policies": [], "max_in_flight": 10_000} | (settings or {})),),
    )
    (run,) = simulate(attrs.evolve(scenario, **more)).runs
    return run


@pytest.fixture
def run_scenario() -> Callable[..., VariantResult]:
    """Run a minute of 10 calls per second without policies, at an endpoint with enough capacity.

    Arguments replace these defaults.
    """
    return _run_scenario
