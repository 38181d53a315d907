"""The limits of a client: attempts in flight, deadlines and timeouts."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

import headrace
from headrace import Call, Client, ClientStateError, DeadlineExceeded, Reply, Timeout
from headrace.testing import Answer, FakeEndpoint
from headrace.transports.memory import MemoryTransport


@pytest.mark.anyio
async def test_closing_the_client_fails_a_waiting_call() -> None:
    endpoint, release = FakeEndpoint(), anyio.Event()
    errors: list[str] = []

    async def handle(call: Call) -> Reply:
        await release.wait()
        return await endpoint.handle(call)

    async def call() -> None:
        try:
            await client.request("GET", "/models")
        except ClientStateError as error:
            errors.append(str(error))

    client = Client(
        base_url="http://fake.test", policies=[], max_in_flight=1, transport=MemoryTransport(handle)
    )
    async with anyio.create_task_group() as group:
        async with client:
            group.start_soon(call)
            group.start_soon(call)
            await anyio.wait_all_tasks_blocked()
        release.set()
    assert errors == ["this client is closed; make the call inside its 'async with' block"]
    assert len(endpoint.attempts) == 1
    assert client.in_flight == 0


@pytest.mark.anyio
async def test_chat_request_and_map_share_the_limit() -> None:
    endpoint = FakeEndpoint(otherwise=Answer(delay=0.002))
    async with endpoint.client(max_in_flight=7) as client, anyio.create_task_group() as group:

        async def call() -> None:
            await client.chat("Hallo")
            await client.request("GET", "/models")
            assert client.in_flight <= 7

        for _ in range(20):
            group.start_soon(call)
        async with client.map(["Hallo"] * 30) as outcomes:
            assert len([outcome async for outcome in outcomes]) == 30
    assert endpoint.most_in_flight == 7
    assert client.in_flight == 0


@pytest.mark.trio
async def test_the_deadline_includes_the_wait_for_a_token(autojump_clock: Any) -> None:
    endpoint = FakeEndpoint(otherwise=Answer(delay=60))
    async with endpoint.client(max_in_flight=1, timeout=100) as client, anyio.create_task_group() as group:
        group.start_soon(client.chat, "Hallo")
        await anyio.wait_all_tasks_blocked()
        start = anyio.current_time()
        with pytest.raises(DeadlineExceeded, match=r"deadline of 10 s \(0 attempts\)") as caught:
            await client.chat("Hallo", deadline=10, id="late")
        assert anyio.current_time() - start == pytest.approx(10)
        assert not caught.value.retryable
        assert caught.value.request is not None
        assert caught.value.request.id == "late"
    assert client.in_flight == 0
    assert len(endpoint.attempts) == 1


@pytest.mark.trio
async def test_elapsed_excludes_the_wait_for_a_token(autojump_clock: Any) -> None:
    endpoint = FakeEndpoint(otherwise=Answer(delay=6))
    replies: list[headrace.Reply] = []
    async with endpoint.client(max_in_flight=1) as client, anyio.create_task_group() as group:

        async def call() -> None:
            replies.append(await client.chat("Hallo", deadline=13))

        group.start_soon(call)
        group.start_soon(call)
    assert [reply.elapsed for reply in replies] == [pytest.approx(6), pytest.approx(6)]


@pytest.mark.trio
async def test_the_timeout_is_that_of_the_call_the_request_or_the_client(
    autojump_clock: Any,
) -> None:
    endpoint = FakeEndpoint(otherwise=Answer(delay=3600))
    async with endpoint.client(timeout=60) as client:
        for value, expected in ((None, 60), (5, 5), (Timeout(7), 7)):
            start = anyio.current_time()
            with pytest.raises(headrace.CallTimeout, match=f"within {expected} s") as caught:
                await client.chat("Hallo", timeout=value)
            assert anyio.current_time() - start == pytest.approx(expected)
            assert caught.value.retryable
            assert caught.value.attempts == 1
    async with endpoint.client(timeout=Timeout(4)) as client:
        with pytest.raises(headrace.CallTimeout, match="within 4 s"):
            await client.chat("Hallo")


@pytest.mark.anyio
async def test_a_cancelled_call_releases_its_token() -> None:
    endpoint = FakeEndpoint(Answer(delay=3600))
    async with endpoint.client(max_in_flight=1) as client:
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(client.chat, "Hallo")
            await anyio.wait_all_tasks_blocked()
            assert (client.in_flight, endpoint.in_flight) == (1, 1)
            group.cancel_scope.cancel()
        assert (client.in_flight, endpoint.in_flight) == (0, 0)
        assert (await client.chat("Hallo")).text == "ok"


@pytest.mark.anyio
async def test_calls_cancelled_at_random_moments_release_their_tokens() -> None:
    rng = random.Random(7)
    endpoint = FakeEndpoint(otherwise=Answer(delay=0.001))
    async with endpoint.client(max_in_flight=5) as client:

        async def call() -> None:
            with anyio.move_on_after(rng.random() * 0.4):
                await client.chat("Hallo", deadline=rng.choice([None, 0.1, 1]))

        async with anyio.create_task_group() as group:
            for _ in range(500):
                group.start_soon(_quietly, call)
        assert (client.in_flight, endpoint.in_flight) == (0, 0)
        assert endpoint.most_in_flight == 5
        for _ in range(6):
            assert (await client.chat("Hallo")).text == "ok"


async def _quietly(call: Callable[[], Awaitable[None]]) -> None:
    with contextlib.suppress(DeadlineExceeded):
        await call()
