"""Single calls of a map are cancelled; the others, and the map, go on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from headrace.errors import CallCancelled
from headrace.testing import FakeEndpoint

pytestmark = pytest.mark.anyio


class HeldEndpoint(FakeEndpoint):
    """An endpoint whose answers wait until they are released."""

    def __init__(self) -> None:
        super().__init__()
        self.released = anyio.Event()

    async def _answer(self, step: Any, call: Any) -> Any:
        await self.released.wait()
        return await super()._answer(step, call)


async def later(items: list[str]) -> AsyncIterator[str]:
    for item in items:
        await anyio.lowlevel.checkpoint()
        yield item


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("chosen", ["b", "abcde", "ab", ""])
async def test_the_map_goes_on_after_calls_were_cancelled(chosen: str, is_async: bool) -> None:
    endpoint, outcomes, items = HeldEndpoint(), list[Any](), list("abcdefg")
    async with endpoint.client(max_in_flight=3) as client:
        stream = client.map(later(items) if is_async else items)
        async with anyio.create_task_group() as group:
            group.start_soon(stream.each, outcomes.append)
            await anyio.wait_all_tasks_blocked()
            cancelled = await stream.cancel(lambda item: item in chosen)
            assert sorted(cancelled) == [item for item in "abc" if item in chosen]
            await anyio.wait_all_tasks_blocked()
            assert endpoint.in_flight == 3
            assert client.limiter.borrowed_tokens == 3
            endpoint.released.set()
    found = {outcome.item: outcome.error for outcome in outcomes}
    assert sorted(found) == items
    assert len(outcomes) == len(items)
    assert {item for item, error in found.items() if isinstance(error, CallCancelled)} == set(cancelled)
    assert sum(error is None for error in found.values()) == len(items) - len(cancelled)


async def test_all_calls_of_a_map_can_be_cancelled() -> None:
    endpoint, outcomes = HeldEndpoint(), list[Any]()
    async with endpoint.client(max_in_flight=5) as client:
        stream = client.map(["a", "b"])
        assert await stream.cancel(lambda item: True) == []
        async with anyio.create_task_group() as group:
            group.start_soon(stream.each, outcomes.append)
            await anyio.wait_all_tasks_blocked()
            await stream.cancel(lambda item: True)
        assert client.limiter.borrowed_tokens == 0
    assert [type(outcome.error) for outcome in outcomes] == [CallCancelled] * 2
    assert all(outcome.attempts == 1 and outcome.error.request is not None for outcome in outcomes)


async def test_an_answer_that_comes_at_the_same_moment_is_not_lost() -> None:
    endpoint, outcomes = HeldEndpoint(), list[Any]()
    async with endpoint.client(max_in_flight=2) as client:
        stream = client.map(list("abcdef"))
        async with anyio.create_task_group() as group:
            group.start_soon(stream.each, outcomes.append)
            await anyio.wait_all_tasks_blocked()
            endpoint.released.set()
            await stream.cancel(lambda item: item in "ab")
    assert sorted(outcome.item for outcome in outcomes) == list("abcdef")
    assert all(outcome.error is None or outcome.item in "ab" for outcome in outcomes)
