"""How a map ends: normally, early, by an error of the input or of the block, or by a cancellation."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from headrace import Outcome
from headrace.client.map import OutcomeStream
from headrace.testing import Answer, FakeEndpoint

SLOW = Answer(delay=3600)


class Rubbish(Exception):
    """Raised by an input or a block."""


def failing(after: int, error: BaseException) -> Iterator[str]:
    for number in range(after):
        yield str(number)
    raise error


async def failing_async(after: int, error: BaseException) -> AsyncIterator[str]:
    for item in failing(after, error):
        await anyio.lowlevel.checkpoint()
        yield item


async def take(outcomes: OutcomeStream[Any], taken: list[Outcome]) -> None:
    """Take all outcomes of a map."""
    async with outcomes:
        async for outcome in outcomes:
            taken.append(outcome)  # noqa: PERF401 - what was taken before an error counts


@pytest.mark.anyio
async def test_leaving_early_cancels_running_calls_and_keeps_the_client_usable() -> None:
    endpoint = FakeEndpoint("first", otherwise=SLOW)
    async with endpoint.client(max_in_flight=10) as client:
        async with client.map(["Hallo"] * 1000) as outcomes:
            async for outcome in outcomes:
                assert outcome.unwrap().text == "first"
                await anyio.wait_all_tasks_blocked()
                assert (endpoint.in_flight, client.in_flight) == (10, 10)
                break
        assert (endpoint.in_flight, client.in_flight) == (0, 0)
        endpoint.then("afterwards")
        assert (await client.chat("Hallo")).text == "afterwards"


@pytest.mark.anyio
async def test_an_error_in_the_block_is_raised_as_itself_and_cancels_the_rest() -> None:
    endpoint = FakeEndpoint(otherwise=SLOW)
    error = Rubbish("no more")
    async with endpoint.client(max_in_flight=10) as client:

        async def fail() -> None:
            async with client.map(["Hallo"] * 1000):
                await anyio.wait_all_tasks_blocked()
                assert endpoint.in_flight == 10
                raise error

        with pytest.raises(Rubbish) as caught:
            await fail()
        assert caught.value is error
        assert (endpoint.in_flight, client.in_flight) == (0, 0)
        endpoint.then("afterwards")
        assert (await client.chat("Hallo")).text == "afterwards"


@pytest.mark.anyio
async def test_an_exception_group_of_the_block_is_raised_unchanged(fake_endpoint: FakeEndpoint) -> None:
    error = ExceptionGroup("several", [Rubbish("a"), Rubbish("b")])
    async with fake_endpoint.client() as client:
        with pytest.raises(ExceptionGroup) as caught:
            async with client.map(["Hallo"]):
                raise error
    assert caught.value is error


@pytest.mark.anyio
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_an_error_of_the_input_is_raised_after_earlier_outcomes(
    fake_endpoint: FakeEndpoint, kind: str, ordered: bool
) -> None:
    error, taken = Rubbish("no more"), list[Outcome]()
    items: Any = failing(37, error) if kind == "sync" else failing_async(37, error)
    async with fake_endpoint.client(max_in_flight=5) as client:
        with pytest.raises(Rubbish) as caught:
            await take(client.map(items, ordered=ordered), taken)
        assert caught.value is error
        assert [outcome.ok for outcome in taken] == [True] * 37
        assert client.in_flight == 0


@pytest.mark.anyio
async def test_an_error_of_the_input_is_raised_by_batch_too(fake_endpoint: FakeEndpoint) -> None:
    count = 0
    async with fake_endpoint.client(max_in_flight=5) as client:

        async def take_batches() -> None:
            nonlocal count
            async with client.map(failing(12, Rubbish("no more"))) as outcomes:
                while batch := await outcomes.batch():
                    count += len(batch)

        with pytest.raises(Rubbish):
            await take_batches()
    assert count == 12


@pytest.mark.anyio
async def test_an_immediate_error_of_the_input_is_raised_as_itself(fake_endpoint: FakeEndpoint) -> None:
    class Refusing:
        def __iter__(self) -> Iterator[str]:
            raise Rubbish("no more")

    async with fake_endpoint.client() as client:
        for items in (failing(0, Rubbish("no more")), Refusing()):
            with pytest.raises(Rubbish):
                await take(client.map(items), [])


@pytest.mark.anyio
async def test_an_error_of_the_input_is_raised_once_and_then_the_map_is_over(
    fake_endpoint: FakeEndpoint,
) -> None:
    async with fake_endpoint.client() as client, client.map(failing(1, Rubbish("no more"))) as outcomes:
        await anext(outcomes)
        with pytest.raises(Rubbish):
            await anext(outcomes)
        with pytest.raises(StopAsyncIteration):
            await anext(outcomes)


@pytest.mark.anyio
async def test_a_base_exception_of_the_input_ends_the_map(fake_endpoint: FakeEndpoint) -> None:
    class Stop(BaseException):
        pass

    async with fake_endpoint.client() as client:
        with pytest.raises(Stop):
            await take(client.map(failing(3, Stop())), [])
        assert client.in_flight == 0


@pytest.mark.anyio
async def test_a_cancellation_from_outside_ends_the_map_at_once() -> None:
    endpoint = FakeEndpoint(otherwise=SLOW)
    async with endpoint.client(max_in_flight=10) as client:
        with anyio.CancelScope() as scope:
            async with client.map(["Hallo"] * 1000) as outcomes:
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
                await anext(outcomes)
        assert scope.cancelled_caught
        assert (endpoint.in_flight, client.in_flight) == (0, 0)


@pytest.mark.anyio
async def test_a_cancellation_from_outside_reaches_a_waiting_input(fake_endpoint: FakeEndpoint) -> None:
    ended = anyio.Event()

    async def waiting() -> AsyncIterator[str]:
        yield "Hallo"
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    async with fake_endpoint.client() as client:
        with anyio.CancelScope() as scope:
            async with client.map(waiting()) as outcomes:
                async for _ in outcomes:
                    await anyio.wait_all_tasks_blocked()
                    scope.cancel()
        assert scope.cancelled_caught
        assert ended.is_set()
        assert client.in_flight == 0


@pytest.mark.anyio
async def test_a_slow_input_does_not_delay_outcomes(fake_endpoint: FakeEndpoint) -> None:
    taken = anyio.Event()

    async def slow() -> AsyncGenerator[str, None]:
        yield "Hallo"
        await taken.wait()
        yield "Hallo"

    async with fake_endpoint.client() as client, aclosing(slow()) as items:
        with anyio.fail_after(5):
            async with client.map(items) as outcomes:
                assert (await anext(outcomes)).index == 0
                taken.set()
                assert (await anext(outcomes)).index == 1


@pytest.mark.trio
async def test_outcomes_taken_before_a_timeout_are_kept(autojump_clock: Any) -> None:
    endpoint = FakeEndpoint(otherwise=Answer(delay=10))
    count = 0
    async with endpoint.client(max_in_flight=3) as client:
        with anyio.move_on_after(35):
            async with client.map(["Hallo"] * 100) as outcomes:
                async for _ in outcomes:
                    count += 1
        assert count == 9
        assert client.in_flight == 0


@pytest.mark.anyio
async def test_concurrent_maps_do_not_affect_each_other(fake_endpoint: FakeEndpoint) -> None:
    async with (
        fake_endpoint.client(max_in_flight=4) as client,
        client.map(["a"] * 50) as first,
        client.map(["b"] * 50) as second,
    ):
        assert len([outcome async for outcome in first]) == 50
        assert len([outcome async for outcome in second]) == 50


@pytest.mark.anyio
async def test_ready_outcomes_can_be_taken_after_the_block(fake_endpoint: FakeEndpoint) -> None:
    async with fake_endpoint.client() as client:
        async with client.map(["Hallo"] * 3) as outcomes:
            await anyio.wait_all_tasks_blocked()
        assert len([outcome async for outcome in outcomes]) == 3
