"""Runs the variants of a scenario, one after the other, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from headrace.client import Client
from headrace.simulation.assembling import assemble, seed_policies
from headrace.simulation.clockwork import run_in_virtual_time
from headrace.simulation.endpoint import SimulatedEndpoint
from headrace.simulation.loads import Caller
from headrace.simulation.recording import Interval, Recorder, merged
from headrace.simulation.scenario import Scenario, Variant
from headrace.transports.memory import MemoryTransport

_URL = "https://simulated.invalid/v1"
_MODEL = "simulated"

Progress = Callable[[Variant, float], None]
"""Told of a variant and the share of its time that is over, now and then."""


@attrs.frozen
class Run:
    """What became of one variant: its intervals, their sum, and the highest levels; of simulated calls."""

    variant: Variant
    policies: tuple[str, ...]
    intervals: tuple[Interval, ...] = attrs.field(repr=False)
    total: Interval = attrs.field(repr=False)
    highest: dict[str, int] = attrs.field(repr=False)

    @property
    def littles_law(self) -> tuple[float, float]:
        """Calls under way: their mean over time, L, and arrivals a second times seconds a call, λW.

        One is added up over time and the other over calls; they agree where nothing is lost or counted twice.
        """
        total = self.total
        return total.level("in_flight"), total.waits / total.seconds if total.seconds else 0.0


@attrs.frozen
class Result:
    """What a scenario's variants came to, in their order."""

    scenario: Scenario
    runs: tuple[Run, ...]


def simulate(scenario: Scenario, progress: Progress | None = None) -> Result:
    """Run all variants of a scenario in virtual time, with the real client and the real policies.

    The same scenario gives the same result, to the last digit, with the same plugins and Python. Not from
    within an event loop: that raises `ClientStateError`. Raises `SettingsError` for settings with which
    there is no client.
    """
    return Result(scenario, tuple([_run(scenario, variant, progress) for variant in scenario.variants]))


def _run(scenario: Scenario, variant: Variant, progress: Progress | None) -> Run:
    core, policies = assemble(variant.settings)
    seed_policies(policies, scenario.seed)
    recorder = Recorder(scenario.width)
    endpoint = SimulatedEndpoint(scenario, recorder)
    client = Client(
        base_url=_URL,
        api_key="simulated",
        model=core.model or _MODEL,
        max_in_flight=core.max_in_flight,
        timeout=core.timeouts(),
        policies=policies,
        observers=[recorder],
        transport=MemoryTransport(endpoint.handle),
    )

    async def main() -> list[Interval]:
        async with client, trio.open_nursery() as nursery:
            nursery.start_soon(endpoint.live)
            if progress is not None:
                nursery.start_soon(_watch, scenario, variant, progress)
            await Caller(client, scenario, recorder).make_calls()
            nursery.cancel_scope.cancel()
        return recorder.close(trio.current_time())

    intervals = run_in_virtual_time(main, scenario.seed)
    names = tuple([policy.name for policy in policies])
    return Run(variant, names, tuple(intervals), merged(intervals), recorder.highest)


async def _watch(scenario: Scenario, variant: Variant, progress: Progress) -> None:
    time = 0.0
    while time < scenario.duration:
        progress(variant, time / scenario.duration)
        time += scenario.width
        await trio.sleep_until(time)
