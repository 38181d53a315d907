"""The scenarios that come with headrace."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from headrace.testing.simulation import BulkLoad, OpenLoad, RateProfile, Scenario, simulate
from headrace.testing.simulation.bundled import bundled_names, find_scenario

NAMES = ["black-friday", "key-revoked-mid-run", "outage-and-recovery", "rate-limit-cliff", "slow-brown-out"]


def test_bundled_scenarios_are_listed() -> None:
    assert bundled_names() == NAMES


def shortened(scenario: Scenario, by: int) -> Scenario:
    changes: dict[str, Any] = {"duration": scenario.duration / by, "every": scenario.width / by}
    for windows in ("outages", "brown_outs", "errors"):
        changes[windows] = tuple(
            attrs.evolve(each, from_=each.from_ / by, to=each.to / by) for each in getattr(scenario, windows)
        )
    load, revoked = scenario.load, scenario.endpoint.key_revoked_at
    if isinstance(load, OpenLoad):
        points = tuple((time / by, rate) for time, rate in load.rate.points)
        changes["load"] = attrs.evolve(load, rate=RateProfile(points))
    elif isinstance(load, BulkLoad):
        changes["load"] = attrs.evolve(load, items=load.items // by)
    if revoked is not None:
        changes["endpoint"] = attrs.evolve(scenario.endpoint, key_revoked_at=revoked / by)
    return attrs.evolve(scenario, **changes)


@pytest.mark.parametrize("name", NAMES)
def test_bundled_scenario_runs_as_described(name: str) -> None:
    """The scenario with all times divided, with the same load and the same faults."""
    scenario = find_scenario(name)
    assert scenario.title
    assert scenario.about
    result = simulate(shortened(scenario, by=3 if name == "outage-and-recovery" else 10))
    for run in result.runs:
        levels, calls = run.littles_law
        assert levels == pytest.approx(calls, rel=1e-9)
        assert run.total.served + run.total.failed == run.total.offered > 100
        assert run.total.cost
    if name == "outage-and-recovery":
        attempts = [run.total.attempts for run in result.runs]
        assert attempts == sorted(attempts)
        assert attempts[-1] > 1.2 * attempts[0]
    elif name == "black-friday":
        alone, broken = result.runs
        assert broken.total.attempts < 0.7 * alone.total.attempts
