"""``stop_on="shared_errors"``: a map stops at an error that all later calls share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import attrs
import pytest

from headrace import AuthenticationError, BudgetExceeded, Outcome, SettingsError, StatusError
from headrace.client.map import OutcomeStream
from headrace.testing import Answer, FakeEndpoint

pytestmark = pytest.mark.anyio

GONE = Answer(status=404, body={"error": {"message": "no such model", "code": "model_not_found"}})


def numbered(drawn: list[int], most: int) -> Iterator[str]:
    for number in range(most):
        drawn.append(number)
        yield f"Question {number}"


async def numbered_async(drawn: list[int], most: int) -> AsyncIterator[str]:
    for item in numbered(drawn, most):
        await anyio.lowlevel.checkpoint()
        yield item


async def take(outcomes: OutcomeStream[Any], taken: list[Outcome]) -> None:
    async with outcomes:
        async for outcome in outcomes:
            taken.append(outcome)  # noqa: PERF401 - what was taken before an error counts


@pytest.mark.parametrize("source", [numbered, numbered_async])
@pytest.mark.parametrize("ordered", [False, True])
async def test_the_error_is_raised_after_earlier_outcomes(
    source: Callable[[list[int], int], Any], ordered: bool
) -> None:
    drawn: list[int] = []
    taken: list[Outcome] = []
    endpoint = FakeEndpoint("a", "b", otherwise=GONE)
    async with endpoint.client(max_in_flight=4) as client:
        outcomes = client.map(source(drawn, 3000), stop_on="shared_errors", ordered=ordered)
        with pytest.raises(StatusError, match="no such model") as raised:
            await take(outcomes, taken)
        assert raised.value.status == 404
        assert sorted(outcome.index for outcome in taken) == drawn
        assert len(drawn) <= 2 + 3 + 4
        assert [outcome.ok for outcome in taken].count(True) == 2
        assert (endpoint.in_flight, client.in_flight) == (0, 0)


async def test_each_raises_the_error_too() -> None:
    taken: list[Outcome] = []
    async with FakeEndpoint(otherwise=401).client(max_in_flight=1) as client:
        with pytest.raises(AuthenticationError):
            await client.map(["x"] * 100, stop_on="shared_errors").each(taken.append)
    assert len(taken) == 3


async def test_by_default_no_error_stops_a_map() -> None:
    async with FakeEndpoint(otherwise=GONE).client() as client, client.map(["x"] * 300) as outcomes:
        assert len([outcome async for outcome in outcomes]) == 300


async def test_two_failures_do_not_stop_the_map() -> None:
    async with (
        FakeEndpoint(otherwise=GONE).client(max_in_flight=1) as client,
        client.map(["x"] * 2, stop_on="shared_errors") as outcomes,
    ):
        assert [outcome.ok async for outcome in outcomes] == [False] * 2


async def test_errors_among_successes_do_not_stop_the_map() -> None:
    steps: list[Any] = [GONE, "a"] * 50
    endpoint = FakeEndpoint(*steps)
    async with (
        endpoint.client(max_in_flight=1) as client,
        client.map(["x"] * 100, stop_on="shared_errors") as outcomes,
    ):
        assert [outcome.ok async for outcome in outcomes] == [False, True] * 50


async def test_errors_about_content_do_not_stop_the_map() -> None:
    async with (
        FakeEndpoint(otherwise=400).client(max_in_flight=1) as client,
        client.map(["x"] * 50, stop_on="shared_errors") as outcomes,
    ):
        assert len([outcome async for outcome in outcomes]) == 50


async def test_the_map_continues_if_a_running_call_succeeds() -> None:
    # The third call begins after the first error and succeeds after the last one.
    first, early, late = attrs.evolve(GONE, delay=0.01), Answer(delay=0.02), Answer(delay=0.05)
    endpoint = FakeEndpoint(first, early, late, GONE, GONE, otherwise="a")
    async with (
        endpoint.client(max_in_flight=2) as client,
        client.map(["x"] * 20, stop_on="shared_errors") as outcomes,
    ):
        found = [outcome async for outcome in outcomes]
    assert [outcome.ok for outcome in found].count(False) == 3
    assert len(found) == 20


async def test_an_exceeded_budget_stops_the_map_at_once() -> None:
    spent = FakeEndpoint("a", otherwise=BudgetExceeded("spent"))
    taken: list[Outcome] = []
    async with spent.client(max_in_flight=1) as client:
        with pytest.raises(BudgetExceeded):
            await client.map(["x"] * 100, stop_on="shared_errors").each(taken.append)
    assert len(taken) == 2


async def test_an_error_of_the_input_is_raised() -> None:
    def broken() -> Iterator[str]:
        yield "x"
        raise OSError("the disk is gone")

    taken: list[Outcome] = []
    async with FakeEndpoint().client() as client:
        with pytest.raises(OSError, match="the disk is gone"):
            await client.map(broken(), stop_on="shared_errors").each(taken.append)
    assert len(taken) == 1


async def test_leaving_the_block_cancels_a_map_that_waits_for_a_verdict() -> None:
    endpoint = FakeEndpoint(Answer(delay=3600), GONE, GONE, GONE)
    async with endpoint.client(max_in_flight=2) as client:
        with anyio.move_on_after(0.05) as scope:
            await client.map(["x"] * 20, stop_on="shared_errors").each(lambda outcome: None)
        assert scope.cancelled_caught
        assert (endpoint.in_flight, len(endpoint.attempts)) == (0, 4)


async def test_an_unknown_value_raises() -> None:
    async with FakeEndpoint().client() as client:
        with pytest.raises(SettingsError, match="stop_on='errors': must be 'shared_errors' or None"):
            client.map([], stop_on="errors")  # type: ignore[call-overload]
