"""Runs the variants of a scenario, one after the other, and what comes of it."""

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
from headrace.testing.simulation.loads import Caller
from headrace.testing.simulation.metrics import Interval, Part, Recorder, merged
from headrace.testing.simulation.scenario import BulkLoad, Scenario, Variant
from headrace.testing.simulation.variant_settings import assemble, seed_policies
from headrace.testing.simulation.virtual_time import run_in_virtual_time
from headrace.transports.memory import MemoryTransport

_URL = "https://simulated.invalid/v1"
_MODEL = "simulated"

Progress = Callable[[Variant, float], None]
"""Told of a variant and the share of its time that is over, now and then."""


Besides = Callable[[Variant, int], Iterable[Policy]]
"""Gives the policies of one process of a variant that its settings cannot make; anew for each."""


@attrs.frozen
class Run:
    """What became of one variant: its intervals, their sum, and the highest levels; of simulated calls.

    ``parts`` are those of the processes.
    """

    variant: Variant
    policies: tuple[str, ...]
    intervals: tuple[Interval, ...] = attrs.field(repr=False)
    total: Interval = attrs.field(repr=False)
    highest: dict[str, int] = attrs.field(repr=False)
    parts: tuple[Part, ...] = attrs.field(repr=False)

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


def simulate(scenario: Scenario, progress: Progress | None = None, besides: Besides | None = None) -> Result:
    """Run all variants of a scenario in virtual time, with the real client and the real policies.

    ``besides`` gives policies that settings cannot make here, as of a plugin whose server is a model, too.
    The same scenario gives the same result, to the last digit, with the same plugins and Python. Not from
    within an event loop: that raises `ClientStateError`. Raises `SettingsError` for settings with which
    there is no client.
    """
    return Result(
        scenario, tuple([_run(scenario, variant, progress, besides) for variant in scenario.variants])
    )


def _run(scenario: Scenario, variant: Variant, progress: Progress | None, besides: Besides | None) -> Run:
    recorder = Recorder(scenario.width, scenario.processes)
    endpoint = SimulatedEndpoint(scenario, recorder)
    plugins = Plugins()  # found once, for they make policies anew for each process

    def new_client(process: int) -> Client:
        core, policies = assemble(variant.settings, plugins=plugins)
        if besides is not None:
            policies += besides(variant, process)
        seed_policies(policies, scenario, process)
        return Client(
            base_url=_URL,
            api_key="simulated",
            model=core.model or _MODEL,
            max_in_flight=core.max_in_flight,
            timeout=core.timeouts(),
            policies=policies,
            observers=[recorder.parts[process]],
            transport=MemoryTransport(partial(endpoint.handle, process)),
        )

    clients = [new_client(process) for process in range(scenario.processes)]
    numbers = iter(range(scenario.divided(scenario.load.items if isinstance(scenario.load, BulkLoad) else 0)))

    async def main() -> list[Interval]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(endpoint.live)
            if progress is not None:
                nursery.start_soon(_watch, scenario, variant, progress)
            async with AsyncExitStack() as stack:
                for client in clients:
                    await stack.enter_async_context(client)
                async with trio.open_nursery() as processes:
                    for process, client in enumerate(clients):
                        caller = Caller(client, scenario, recorder, process, numbers)
                        processes.start_soon(caller.make_calls)
                ended = trio.current_time()
            nursery.cancel_scope.cancel()
        return recorder.close(ended)

    intervals = run_in_virtual_time(main, scenario.seed)
    names = tuple([policy.name for policy in clients[0].policies])
    parts = tuple(recorder.parts)
    return Run(variant, names, tuple(intervals), merged(intervals), recorder.highest, parts)


async def _watch(scenario: Scenario, variant: Variant, progress: Progress) -> None:
    time = 0.0
    while time < scenario.duration:
        progress(variant, time / scenario.duration)
        time += scenario.width
        await trio.sleep_until(time)
