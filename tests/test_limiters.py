"""Places in flight: who has to wait, and who is next."""

from __future__ import annotations

import random

import anyio
import anyio.abc
import pytest
from headrace.places import Places

from headrace import Client, Request
from headrace.testing import Answer, FakeEndpoint

pytestmark = pytest.mark.anyio


async def test_the_highest_priority_is_next_and_then_who_came_first() -> None:
    places, served = Places(1), list[str]()

    async def come(name: str, priority: int) -> None:
        await places.take(priority)
        served.append(name)
        places.give_back()

    assert places.take_at_once()
    async with anyio.create_task_group() as group:
        for name, priority in [("a", 0), ("b", 0), ("low", -1), ("high", 5), ("c", 0)]:
            group.start_soon(come, name, priority)
            await anyio.wait_all_tasks_blocked()
        places.give_back()
        assert not places.take_at_once(), "it went to the next in the same moment"
    assert served == ["high", "a", "b", "c", "low"]
    assert places.taken == 0


@pytest.mark.parametrize("seed", range(30))
async def test_no_place_is_lost_and_none_is_made_whatever_is_cancelled(seed: int) -> None:
    rng, places = random.Random(seed), Places(3)
    inside = 0

    async def come() -> None:
        nonlocal inside
        with anyio.move_on_after(rng.random() / 100):
            await places.take(rng.randrange(3))
            inside += 1
            assert inside <= 3
            try:
                await anyio.sleep(rng.random() / 200)
            finally:
                inside -= 1
                places.give_back()

    async with anyio.create_task_group() as group:
        for _ in range(80):
            group.start_soon(come)
            if rng.random() < 0.3:
                await anyio.sleep(rng.random() / 500)
    assert places.taken == 0
    assert [places.take_at_once() for _ in range(4)] == [True, True, True, False]


async def test_a_single_call_passes_a_map_on_the_same_client() -> None:
    endpoint = FakeEndpoint(otherwise=Answer(delay=0.01))
    async with (
        endpoint.client(max_in_flight=2) as client,
        client.map(["bulk"] * 20, max_in_flight=None) as one,
        client.map(["bulk"] * 20) as other,
        anyio.create_task_group() as group,
    ):
        await anyio.sleep(0.015)
        before = len(endpoint.attempts)
        await client.chat("at once, please")
        # Of those that were in flight two may have been followed by others in the same moment.
        asked = [request.body and request.body["messages"][0]["content"] for request in endpoint.attempts]
        assert asked.index("at once, please") <= before + 2
        group.cancel_scope.cancel()
        del one, other


async def test_a_priority_is_said_with_the_call_or_the_request() -> None:
    endpoint = FakeEndpoint(Answer(delay=0.3))  # time for all to come

    async def ask(client: Client, text: str, group: anyio.abc.TaskGroup, priority: int) -> None:
        group.start_soon(lambda: client.chat(text, priority=priority))
        await anyio.wait_all_tasks_blocked()

    body = {"messages": [{"role": "user", "content": "of a map"}]}
    async with endpoint.client(max_in_flight=1) as client, anyio.create_task_group() as group:
        await ask(client, "first", group, 0)
        await ask(client, "last", group, -5)
        await ask(client, "usual", group, 0)
        group.start_soon(client.map([Request(body, priority=3)]).each, lambda outcome: None)
        await anyio.wait_all_tasks_blocked()
        await ask(client, "urgent", group, 9)
    asked = [request.body and request.body["messages"][0]["content"] for request in endpoint.attempts]
    assert asked == ["first", "urgent", "of a map", "usual", "last"]
