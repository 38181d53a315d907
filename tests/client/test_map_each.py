"""`OutcomeStream.each`: a callback for each outcome, called by the task that made the call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest

from headrace import ClientStateError, Outcome
from headrace.testing import Answer, FakeEndpoint

pytestmark = pytest.mark.anyio


class Rubbish(Exception):
    """Raised by a callback or an input."""


async def alphabet() -> AsyncIterator[str]:
    for letter in "abcdef":
        yield letter


@pytest.mark.parametrize("items", [list("abcdef"), alphabet()], ids=["sync", "async"])
@pytest.mark.parametrize("ordered", [False, True])
async def test_the_callback_gets_each_outcome_once(items: Any, ordered: bool) -> None:
    seen: list[Outcome] = []
    if not isinstance(items, list):
        items = alphabet()
    async with FakeEndpoint().client() as client:
        await client.map(items, max_in_flight=3, ordered=ordered).each(seen.append)
        assert client.in_flight == 0
    assert sorted(outcome.index for outcome in seen) == list(range(6))
    assert all(outcome.ok for outcome in seen)
    if ordered:
        assert [outcome.index for outcome in seen] == list(range(6))


async def test_an_item_is_read_after_the_callback_for_the_previous_one() -> None:
    drawn, dealt_with = 0, 0

    def items() -> Iterator[str]:
        nonlocal drawn
        for number in range(50):
            drawn += 1
            assert drawn - dealt_with <= 4
            yield str(number)

    def count(outcome: Outcome) -> None:
        nonlocal dealt_with
        assert outcome.ok
        dealt_with += 1

    async with FakeEndpoint().client() as client:
        await client.map(items(), max_in_flight=4).each(count)
    assert (drawn, dealt_with) == (50, 50)


async def test_an_error_of_the_callback_is_raised_and_ends_the_map() -> None:
    called = 0

    def refuse(outcome: Outcome) -> None:
        nonlocal called
        called += 1
        raise Rubbish("enough")

    endpoint = FakeEndpoint("a", otherwise=Answer(delay=3600))
    async with endpoint.client() as client:
        with anyio.fail_after(5), pytest.raises(Rubbish):
            await client.map(["Hallo"] * 20, max_in_flight=10).each(refuse)
        assert (called, client.in_flight, endpoint.in_flight) == (1, 0, 0)


async def test_an_error_of_the_input_is_raised_after_earlier_outcomes() -> None:
    def items() -> Iterator[str]:
        yield from "abc"
        raise Rubbish("line 4")

    seen: list[Outcome] = []
    async with FakeEndpoint().client() as client:
        with pytest.raises(Rubbish, match="line 4"):
            await client.map(items(), max_in_flight=2).each(seen.append)
    assert sorted(outcome.index for outcome in seen) == [0, 1, 2]


async def test_a_map_is_used_once() -> None:
    async with FakeEndpoint().client() as client:
        outcomes = client.map(["a"])
        await outcomes.each(lambda outcome: None)
        with pytest.raises(ClientStateError, match="once"):
            await outcomes.each(lambda outcome: None)
        with pytest.raises(ClientStateError, match="once"):
            await outcomes.__aenter__()


async def test_cancelling_each_cancels_its_calls() -> None:
    endpoint = FakeEndpoint(otherwise=Answer(delay=3600))
    async with endpoint.client() as client:
        with anyio.move_on_after(0.05) as scope:
            await client.map(["a"] * 9, max_in_flight=3).each(lambda outcome: None)
        assert scope.cancelled_caught
        assert (client.in_flight, endpoint.in_flight) == (0, 0)
