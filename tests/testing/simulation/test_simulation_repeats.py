"""A scenario gives the same result each time, also in another process; another seed gives another result."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import anyio
import pytest
import trio
from trio._core import _run

from headrace import ClientStateError
from headrace.testing.simulation import (
    ClosedLoad,
    Exponential,
    Outage,
    VariantResult,
    parse_scenario,
    simulate,
)

SCENARIO = """
duration = 120
max_in_flight = 200
timeout = 5

[load]
kind = "open"
rate = 30

[endpoint]
capacity = 20
service = { kind = "lognormal", mean = "500ms", p95 = "1s" }
queue = 100

[[outages]]
from = 30
to = 50

[[errors]]
to = 100
share = 0.1

[retry]
attempts = 4

[breaker]
open_for = 5
"""
PROGRAM = """
import sys
from headrace.testing.simulation import parse_scenario, simulate
(run,) = simulate(parse_scenario(sys.argv[1], "s.toml")).runs
for interval in run.intervals:
    print(interval)
"""


def test_two_processes_give_identical_results() -> None:
    def output(hash_seed: str) -> str:
        command = [sys.executable, "-c", PROGRAM, SCENARIO]
        environment = {"PYTHONHASHSEED": hash_seed}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    first = output("1")
    assert first == output("2")
    assert "circuit_open" in first
    assert "retries=0," in first


def test_another_seed_gives_other_arrivals(run_scenario: Callable[..., VariantResult]) -> None:
    assert str(run_scenario(seed=1).total) == str(run_scenario(seed=1).total)
    assert str(run_scenario(seed=1).total) != str(run_scenario(seed=2).total)


def test_environment_does_not_change_the_result(
    monkeypatch: pytest.MonkeyPatch, run_scenario: Callable[..., VariantResult]
) -> None:
    before = str(run_scenario({"policies": ["retry"], "timeout": 5}).total)
    for name, value in (
        ("MAX_IN_FLIGHT", "1"),
        ("RETRY_ATTEMPTS", "1"),
        ("MODEL", "other"),
        ("TIMEOUT", "1"),
    ):
        monkeypatch.setenv(f"HEADRACE_{name}", value)
    assert str(run_scenario({"policies": ["retry"], "timeout": 5}).total) == before


def test_variants_have_the_same_arrivals(run_scenario: Callable[..., VariantResult]) -> None:
    scenario = parse_scenario(SCENARIO + "[variants.a.retry]\nattempts = 1\n[variants.b]\n", "s.toml")
    first, second = simulate(scenario).runs
    assert [each.offered for each in first.intervals[:60]] == [each.offered for each in second.intervals[:60]]
    assert first.total.retries < second.total.retries


def test_state_of_trio_is_restored(run_scenario: Callable[..., VariantResult]) -> None:
    state, switch = _run._r.getstate(), _run._ALLOW_DETERMINISTIC_SCHEDULING
    run_scenario(load=ClosedLoad(customers=5, think=Exponential(1.0)), outages=(Outage(from_=1, to=2),))
    assert _run._r.getstate() == state
    assert switch == _run._ALLOW_DETERMINISTIC_SCHEDULING


@pytest.mark.parametrize("run", [anyio.run, trio.run])
def test_simulation_in_an_event_loop_is_rejected(run: Callable[..., None]) -> None:
    async def main() -> None:
        with pytest.raises(ClientStateError, match="not async"):
            simulate(parse_scenario(SCENARIO, "s.toml"))

    run(main)
