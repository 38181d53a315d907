"""Runs the variants of a scenario, one after the other, and returns their results."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from functools import partial

import attrs
import trio

from headrace.client import Client
from headrace.pipeline.plugin_manager import Plugins
from headrace.policies import Policy
from headrace.testing.simulation.endpoint import SimulatedEndpoint
from headrace.testing.simulation.loads import LoadGenerator
from headrace.testing.simulation.metrics import Interval, MetricsRecorder, ProcessMetrics, merged
from headrace.testing.simulation.scenario import BulkLoad, Scenario, Variant
from headrace.testing.simulation.variant_settings import assemble, seed_policies
from headrace.testing.simulation.virtual_time import run_in_virtual_time
from headrace.transports.memory import MemoryTransport

_URL = "https://simulated.invalid/v1"
_MODEL = "simulated"

Progress = Callable[[Variant, float], None]
"""Called from time to time with a variant and the finished share of its duration."""


PolicyFactory = Callable[[Variant, int], Iterable[Policy]]
"""Creates policies that settings cannot create, for one process of a variant."""


@attrs.frozen
class VariantResult:
    """The result of one variant; counts are of simulated calls.

    Attributes:
        variant: The variant.
        policies: Names of its policies, outermost first.
        intervals: Its intervals in order.
        total: Their sum.
        highest: The highest value of each level.
        process_metrics: The metrics of each process.
    """

    variant: Variant
    policies: tuple[str, ...]
    intervals: tuple[Interval, ...] = attrs.field(repr=False)
    total: Interval = attrs.field(repr=False)
    highest: dict[str, int] = attrs.field(repr=False)
    process_metrics: tuple[ProcessMetrics, ...] = attrs.field(repr=False)

    @property
    def littles_law(self) -> tuple[float, float]:
        """Calls in flight: the mean over time, L, and the arrivals per second times the seconds per call, λW.

        One is summed over time and the other over calls. They agree if no call is lost or counted twice.
        """
        total = self.total
        return total.level("in_flight"), total.waits / total.seconds if total.seconds else 0.0


@attrs.frozen
class SimulationResult:
    """The results of a simulation.

    Attributes:
        scenario: The scenario.
        runs: The results of its variants, in the order of the scenario.
    """

    scenario: Scenario
    runs: tuple[VariantResult, ...]


def simulate(
    scenario: Scenario, progress: Progress | None = None, extra_policies: PolicyFactory | None = None
) -> SimulationResult:
    """Run all variants of a scenario in virtual time, with the real client and the real policies.

    The same scenario with the same plugins and Python gives the same result, to the last digit.

    Args:
        scenario: What to simulate.
        progress: Called from time to time with the variant and the finished share, from 0 to 1.
        extra_policies: Creates further policies for a variant and the number of a process, for example for a
            plugin with a simulated server.

    Returns:
        The results of the variants, in their order.

    Raises:
        ClientStateError: The caller runs in an event loop.
        SettingsError: The settings of a variant are invalid.

    Example:
        ```python
        result = simulate(read_scenario("scenario.toml"))
        for run in result.runs:
            print(run.variant.name, run.total.served, run.total.failed)
        ```
    """
    return SimulationResult(
        scenario, tuple([_run(scenario, variant, progress, extra_policies) for variant in scenario.variants])
    )


def _run(
    scenario: Scenario, variant: Variant, progress: Progress | None, extra_policies: PolicyFactory | None
) -> VariantResult:
    recorder = MetricsRecorder(scenario.width, scenario.processes)
    endpoint = SimulatedEndpoint(scenario, recorder)
    plugins = Plugins()  # found once; they create new policies for each process

    def new_client(process: int) -> Client:
        core, policies = assemble(variant.settings, plugins=plugins)
        if extra_policies is not None:
            policies += extra_policies(variant, process)
        seed_policies(policies, scenario, process)
        return Client(
            base_url=_URL,
            api_key="simulated",
            model=core.model or _MODEL,
            max_in_flight=core.max_in_flight,
            timeout=core.timeouts(),
            policies=policies,
            observers=[recorder.process_metrics[process]],
            transport=MemoryTransport(partial(endpoint.handle, process)),
        )

    clients = [new_client(process) for process in range(scenario.processes)]
    numbers = iter(range(scenario.scaled(scenario.load.items if isinstance(scenario.load, BulkLoad) else 0)))

    async def main() -> list[Interval]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(endpoint.run_brown_outs)
            if progress is not None:
                nursery.start_soon(_watch, scenario, variant, progress)
            async with AsyncExitStack() as stack:
                for client in clients:
                    await stack.enter_async_context(client)
                async with trio.open_nursery() as processes:
                    for process, client in enumerate(clients):
                        caller = LoadGenerator(client, scenario, recorder, process, numbers)
                        processes.start_soon(caller.make_calls)
                ended = trio.current_time()
            nursery.cancel_scope.cancel()
        return recorder.close(ended)

    intervals = run_in_virtual_time(main, scenario.seed)
    names = tuple([policy.name for policy in clients[0].policies])
    parts = tuple(recorder.process_metrics)
    return VariantResult(variant, names, tuple(intervals), merged(intervals), recorder.highest, parts)


async def _watch(scenario: Scenario, variant: Variant, progress: Progress) -> None:
    time = 0.0
    while time < scenario.duration:
        progress(variant, time / scenario.duration)
        time += scenario.width
        await trio.sleep_until(time)
