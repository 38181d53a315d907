"""The metrics of calls."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest

import headrace
from headrace.testing import Answer, FakeEndpoint
from telemetry import ANSWERED, TARGET, Telemetry

pytestmark = pytest.mark.anyio


def attributes_of_points(points: list[Any]) -> list[dict[str, Any]]:
    return [dict(point.attributes) for point in points]


async def test_duration_tokens_cost_and_retries_are_recorded(telemetry: Telemetry) -> None:
    Cost = pytest.importorskip("headrace_cost").Cost
    Retry = pytest.importorskip("headrace_retry").Retry
    cost = Cost(prices={"m": {"input": 1, "output": 2}})
    async with FakeEndpoint(429, 503).client([telemetry.policy(), Retry(base=0), cost], model="m") as client:
        for _ in range(3):
            await client.chat("Hallo")
    points = telemetry.points()
    (duration,) = points["gen_ai.client.operation.duration"]
    assert (duration.count, duration.attributes) == (3, ANSWERED)
    assert tuple(duration.explicit_bounds[:3]) == (0.01, 0.02, 0.04)
    assert duration.explicit_bounds[-1] == 81.92
    tokens = {point.attributes["gen_ai.token.type"]: point for point in points["gen_ai.client.token.usage"]}
    assert {kind: (point.count, point.sum) for kind, point in tokens.items()} == {
        "input": (3, 30),
        "output": (3, 15),
    }
    assert tokens["input"].attributes == ANSWERED | {"gen_ai.token.type": "input"}
    assert tokens["input"].explicit_bounds[-1] == 67108864
    (spent,) = points["headrace.client.cost"]
    assert spent.value == pytest.approx(0.00006)
    retries = {point.attributes["error.type"]: point.value for point in points["headrace.client.retries"]}
    assert retries == {"rate_limited": 1, "server_error": 1}
    (in_flight,) = points["headrace.client.in_flight"]
    assert (in_flight.value, in_flight.attributes) == (0, TARGET)
    assert "gen_ai.client.operation.time_to_first_chunk" not in points


async def test_failures_have_an_error_type(telemetry: Telemetry) -> None:
    async with FakeEndpoint("ok", 500, Answer(delay=60)).client([telemetry.policy()], model="m") as client:
        await client.chat("Hallo")
        with pytest.raises(headrace.ServerError):
            await client.chat("Hallo")
        with anyio.move_on_after(0.01):
            await client.chat("Hallo")
    durations = attributes_of_points(telemetry.points()["gen_ai.client.operation.duration"])
    assert sorted(point.get("error.type", "") for point in durations) == ["", "cancelled", "server_error"]


async def test_calls_in_flight_are_counted(telemetry: Telemetry) -> None:
    seen = []

    async def look(client: headrace.Client) -> None:
        while client.in_flight < 3:
            await anyio.lowlevel.checkpoint()
        (point,) = telemetry.points()["headrace.client.in_flight"]
        seen.append(point.value)
        group.cancel_scope.cancel()

    endpoint = FakeEndpoint(otherwise=Answer(delay=60))
    async with endpoint.client([telemetry.policy()]) as client, anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(client.chat, "Hallo")
        group.start_soon(look, client)
    assert seen == [3]
    (point,) = telemetry.points()["headrace.client.in_flight"]
    assert point.value == 0


async def test_streams_have_a_time_to_the_first_chunk(telemetry: Telemetry) -> None:
    endpoint = FakeEndpoint("one two")
    async with (
        endpoint.client([telemetry.policy()], model="m") as client,
        client.stream("Hallo") as stream,
    ):
        (point,) = telemetry.points()["headrace.client.in_flight"]
        assert point.value == 1, "until its end"
        [_ async for _ in stream]
    points = telemetry.points()
    assert attributes_of_points(points["gen_ai.client.operation.time_to_first_chunk"]) == [ANSWERED]
    assert points["headrace.client.in_flight"][0].value == 0


async def test_traces_and_metrics_can_be_used_separately(telemetry: Telemetry) -> None:
    Retry = pytest.importorskip("headrace_retry").Retry
    endpoint = FakeEndpoint(503)
    async with endpoint.client([telemetry.policy(traces=False), Retry(base=0)], model="m") as client:
        await client.chat("Hallo")
    assert telemetry.spans == []
    assert telemetry.points()["headrace.client.retries"][0].value == 1


async def test_no_metrics_are_recorded_if_they_are_off(telemetry: Telemetry) -> None:
    Retry = pytest.importorskip("headrace_retry").Retry
    async with FakeEndpoint(503).client([telemetry.policy(metrics=False), Retry(base=0)]) as client:
        await client.chat("Hallo")
    assert len(telemetry.spans) == 1
    assert telemetry.points() == {}
