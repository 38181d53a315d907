"""Makes the calls of a scenario, as an open, a closed or a bulk load."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import trio

from headrace.calls import Outcome, Request
from headrace.client import Client
from headrace.errors import HeadraceError
from headrace.replies import Reply
from headrace.testing.simulation.metrics import MetricsRecorder
from headrace.testing.simulation.scenario import ClosedLoad, OpenLoad, Scenario


class LoadGenerator:
    """Makes the calls of one process with its client, and records them.

    ``numbers`` are the remaining items of a bulk load; processes with free capacity take the next one.
    """

    def __init__(
        self,
        client: Client,
        scenario: Scenario,
        recorder: MetricsRecorder,
        process: int,
        numbers: Iterator[int],
    ) -> None:
        self._client, self._scenario, self._recorder = client, scenario, recorder
        self._process, self._numbers = process, numbers
        self._body = {
            "model": client.settings.model,
            "messages": [{"role": "user", "content": "Simulated."}],
        }
        self._deadline = scenario.load.deadline

    async def make_calls(self) -> None:
        """Make the calls of this process; return when the last one has ended."""
        load = self._scenario.load
        if isinstance(load, OpenLoad):
            await self._open(load)
        elif isinstance(load, ClosedLoad):
            await self._closed(load)
        else:
            await self._bulk()

    async def _call(self) -> None:
        began = trio.current_time()
        self._recorder.begin(self._process, began)
        try:
            result: Reply | HeadraceError = await self._client.request(
                "POST", "/chat/completions", self._body, deadline=self._deadline
            )
        except HeadraceError as error:
            result = error
        self._recorder.end(self._process, began, trio.current_time(), result)

    async def _open(self, load: OpenLoad) -> None:
        scenario = self._scenario
        random_stream, divisor = (
            scenario.random_stream("load", self._process),
            scenario.stands_for * scenario.processes,
        )
        async with trio.open_nursery() as nursery:
            for moment in load.rate.arrivals(random_stream, scenario.duration, divisor):
                await trio.sleep_until(moment)
                nursery.start_soon(self._call)

    async def _closed(self, load: ClosedLoad) -> None:
        async def customer(random_stream: Random) -> None:
            while True:
                await trio.sleep(load.think.draw(random_stream))
                if trio.current_time() >= self._scenario.duration:
                    return
                await self._call()

        async with trio.open_nursery() as nursery:
            customers = self._scenario.scaled(load.customers)
            for number in range(self._process, customers, self._scenario.processes):
                # Each customer has its own random stream, so one does not change another's numbers.
                nursery.start_soon(customer, self._scenario.random_stream(f"customer {number}"))

    async def _bulk(self) -> None:
        began: dict[int, float] = {}

        def items() -> Iterator[Request]:
            for index, _ in enumerate(self._numbers):
                now = trio.current_time()
                if now >= self._scenario.duration:
                    return
                began[index] = now
                self._recorder.begin(self._process, now)
                yield Request(self._body, deadline=self._deadline)

        def record_end(outcome: Outcome) -> None:
            result = outcome.reply or outcome.error
            assert result is not None
            self._recorder.end(self._process, began.pop(outcome.index), trio.current_time(), result)

        await self._client.map(items()).each(record_end)
