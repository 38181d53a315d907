"""A run is paused and resumed while calls from before the pause are in flight."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
import trio
import trio.testing
from tests.bulk.control.held_endpoint import HeldEndpoint, until
from tests.bulk.control.memory_workers import MemoryWorkers

from headrace import Client
from headrace.bulk import Run, run
from headrace.bulk.steps import Step
from headrace.errors import CircuitOpen
from headrace.testing import Answer, FakeEndpoint

pytestmark = pytest.mark.anyio

ROWS = [{"id": f"P{number}", "name": f"name {number}"} for number in range(10)]


async def streamed() -> AsyncIterator[dict[str, str]]:
    for row in ROWS:
        yield row


KINDS: dict[str, dict[str, Any]] = {
    "prompt": {"prompt": "{name}"},
    "own limit": {"prompt": "{name}", "max_in_flight": 3},
    "steps": {"steps": [Step("first", "{name}"), Step("second", "{first}")]},
    "samples": {"prompt": "{name}", "samples": 2},
    "embeddings": {"task": "embed", "column": "name", "batch_size": 1},
}


@pytest.mark.parametrize("source", ["list", "async"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_resumed_run_sends_at_once_beside_the_calls_from_before(kind: str, source: str) -> None:
    endpoint = HeldEndpoint()
    async with endpoint.client(max_in_flight=3) as client:
        going: Run = run(client, ROWS if source == "list" else streamed(), id_column="id", **KINDS[kind])
        async with going:
            await until(lambda: endpoint.in_flight == 3)
            going.set_limit("max-in-flight", 1)
            going.pause()
            client.limiter.total_tokens = 5
            going.set_limit("max-in-flight", 5)
            await anyio.wait_all_tasks_blocked()
            assert len(endpoint.attempts) == 3
            going.resume()
            await until(lambda: endpoint.in_flight == 5)
            going.pause()
            endpoint.release()
            await until(lambda: endpoint.in_flight == 0)
            await anyio.wait_all_tasks_blocked()
            assert len(endpoint.attempts) == 5
            going.resume()
            result = await going.wait()
    assert (result.succeeded, result.failed, result.left) == (10, 0, 0)
    assert endpoint.most_in_flight == 5


@pytest.mark.parametrize("kind", KINDS)
async def test_a_run_that_was_paused_before_its_first_call_can_be_stopped(kind: str) -> None:
    endpoint = HeldEndpoint(held=False)
    async with (
        endpoint.client(max_in_flight=3) as client,
        run(client, ROWS, id_column="id", **KINDS[kind]) as going,
    ):
        going.pause()
        await anyio.wait_all_tasks_blocked()
        going.stop()
        result = await going.wait()
    assert (result.left, endpoint.attempts) == (10, [])


async def test_a_run_is_paused_and_resumed_again_and_again() -> None:
    endpoint = HeldEndpoint()
    async with endpoint.client(max_in_flight=2) as client, run(client, ROWS, prompt="{name}") as going:
        for number in range(1, 6):
            await until(lambda: endpoint.in_flight == 2)
            going.pause()
            going.pause()
            going.resume()
            going.pause()
            endpoint.release(held=True)
            await until(lambda number=number: going.snapshot().succeeded == 2 * number)  # type: ignore[misc]
            going.resume()
        result = await going.wait()
    assert (result.succeeded, len(endpoint.attempts), endpoint.most_in_flight) == (10, 10, 2)


def test_the_time_of_a_pause_is_no_wait_for_the_endpoint() -> None:
    async def main() -> None:
        endpoint = FakeEndpoint(Answer(delay=5.0), CircuitOpen("the circuit is open", 1.0))
        async with (
            endpoint.client(max_in_flight=1) as client,
            run(client, ROWS, prompt="{name}", wait_for_endpoint=60.0) as going,
        ):
            await trio.sleep(1.0)
            going.pause()
            await trio.sleep(3600.0)
            going.resume()
            result = await going.wait()
        assert (result.succeeded, result.stopped_by) == (10, None)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_workers_get_items_at_once_when_a_run_is_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = MemoryWorkers(delay=60.0)
    workers.use(monkeypatch)
    rows = [{"id": f"P{number}", "name": "x"} for number in range(100)]

    async def main() -> None:
        make_client = functools.partial(Client, base_url="http://fake.test/v1", model="m", policies=[])
        async with run(make_client, rows, prompt="{name}", processes=2, max_in_flight=4) as going:
            await trio.sleep(1.0)
            going.pause()
            before = len(workers.received)
            assert 4 < before < 100
            await trio.sleep(10.0)
            going.set_limit("max-in-flight", 40)
            await trio.sleep(10.0)
            assert len(workers.received) == before
            going.resume()
            await trio.sleep(1.0)
            assert len(workers.received) > before
            going.pause()
            await trio.sleep(3600.0)
            assert going.snapshot().succeeded == len(workers.received) < 100
            going.stop()
            result = await going.wait()
        assert (result.done, result.stopped_by) == (len(workers.received), "interrupt")

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
