"""The measurement of `headrace bench`: makes calls with a client and takes their times."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs

from headrace.client import Client
from headrace.testing.server import Behaviour, endpoint_process


@attrs.frozen
class Row:
    """The figures for one number of calls in flight; CPU time is that of this process alone."""

    in_flight: int
    per_s: float
    cpu_us: float
    mean_ms: float
    p50_ms: float
    p99_ms: float


@attrs.frozen
class Measurement:
    """The rows, and the names of the active policies."""

    policies: tuple[str, ...]
    rows: tuple[Row, ...]


async def measure_simulated(latency: float, calls: int, in_flight: Sequence[int]) -> Measurement:
    """Measure with the embedded endpoint, which runs during the measurement."""
    async with endpoint_process(Behaviour(latency=latency)) as endpoint:

        def client(most: int) -> Client:
            return Client(
                base_url=endpoint.base_url,
                api_key="bench",
                model="simulated",
                max_in_flight=most,
                transport="native",
            )

        return await _measure(client, calls, in_flight)


async def measure_real(base_url: str, model: str | None, calls: int, in_flight: Sequence[int]) -> Measurement:
    """Measure with the user's own endpoint."""
    return await _measure(
        lambda most: Client(base_url=base_url, model=model, max_in_flight=most), calls, in_flight
    )


async def _measure(client_for: Callable[[int], Client], calls: int, in_flight: Sequence[int]) -> Measurement:
    """One row for each number of calls in flight; raises `CallError` if a call fails."""
    rows: list[Row] = []
    policies: tuple[str, ...] = ()
    for most in in_flight:
        async with client_for(most) as client:
            policies = tuple(policy.name for policy in client.policies)
            rows.append(await _row(client, most, calls))
    return Measurement(policies, tuple(rows))


async def _row(client: Client, in_flight: int, calls: int) -> Row:
    await _make_calls(client, 1)
    wall, cpu = time.perf_counter(), time.process_time()
    seconds = await _make_calls(client, calls)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    seconds.sort()
    return Row(
        in_flight,
        per_s=calls / wall,
        cpu_us=cpu / calls * 1e6,
        mean_ms=sum(seconds) / calls * 1e3,
        p50_ms=seconds[calls // 2] * 1e3,
        p99_ms=seconds[calls * 99 // 100] * 1e3,
    )


async def _make_calls(client: Client, calls: int) -> list[float]:
    """Make calls; returns the seconds of each, from drawing the item to its outcome."""
    began: dict[int, float] = {}
    seconds: list[float] = []

    def bodies() -> Iterator[dict[str, Any]]:
        for number in range(calls):
            # Not the elapsed time of the outcome: uvloop's clock has steps of a millisecond.
            began[number] = time.perf_counter()
            content = f"Name a colour that goes with number {number}."
            yield {"messages": [{"role": "user", "content": content}], "max_tokens": 16}

    async with client.map(bodies()) as outcomes:
        async for outcome in outcomes:
            _ = outcome.unwrap().text  # raises if it is not an answer
            seconds.append(time.perf_counter() - began.pop(outcome.index))
    return seconds
