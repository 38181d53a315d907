"""Bounded mappings, and policies with state per model or tag: their memory is limited."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import Policy, Request
from headrace.plugins import BoundedMapping
from headrace.testing import FakeEndpoint
from headrace_adaptive import Adaptive
from headrace_breaker import Breaker
from headrace_cost import Cost
from headrace_hedge import Hedge
from headrace_logging import Logging
from headrace_otel import Otel
from headrace_pace import Pace
from headrace_repair import Repair
from headrace_retry import Retry
from headrace_route import Route


def listed(key: int) -> list[int]:
    return [key]


def test_a_value_is_made_once_while_its_key_is_used() -> None:
    made: list[int] = []

    def make(key: int) -> list[int]:
        made.append(key)
        return [key]

    mapping = BoundedMapping(make, max_size=10)
    first = mapping[0]
    for key in range(1, 100):
        assert mapping[key] == [key]
        assert mapping[0] is first
    assert made == list(range(100))


def test_keys_not_used_recently_are_dropped_and_made_again() -> None:
    mapping = BoundedMapping(listed, max_size=10)
    first = mapping[0]
    for key in range(1, 11):
        mapping[key]
    assert mapping.find(0) is None
    assert mapping[0] is not first


@given(st.lists(st.integers(0, 40), max_size=300), st.integers(2, 12))
def test_the_size_is_limited_and_the_latest_keys_are_kept(keys: list[int], most: int) -> None:
    mapping = BoundedMapping(listed, max_size=most)
    for number, key in enumerate(keys):
        value = mapping[key]
        assert value == [key]
        assert mapping.find(key) is value
        held = [each for (each,) in mapping.all_values()]
        assert len(held) == len(set(held)) <= most
        latest = list(dict.fromkeys(reversed(keys[: number + 1])))[: most // 2]
        assert set(latest) <= set(held)


def test_values_in_use_are_never_dropped() -> None:
    busy = {3, 5}
    mapping = BoundedMapping(listed, max_size=10, in_use=lambda value: value[0] in busy)
    kept = {key: mapping[key] for key in busy}
    for key in range(100, 1000):
        mapping[key]
    assert all(mapping[key] is value for key, value in kept.items())
    busy.clear()
    for key in range(1000, 1100):
        mapping[key]
    assert len(list(mapping.all_values())) <= 10
    mapping.forget()
    assert not list(mapping.all_values())


POLICIES: list[Callable[[], Policy]] = [
    lambda: Adaptive(start=100),
    Breaker,
    Cost,
    lambda: Hedge(after="p95"),
    Logging,
    Otel,
    lambda: Pace(requests_per_minute=1e9),
    Repair,
    Retry,
    Route,
]
EACH = 1200  # more than are remembered


@pytest.mark.anyio
async def test_any_number_of_models_and_tags_takes_constant_memory() -> None:
    """With all policies; the second half must need no more memory than the first one of equal size."""

    async def calls(begin: int) -> None:
        requests = (
            Request(
                {"model": f"m{n}", "messages": [{"role": "user", "content": "x"}]},
                tags={"user": f"u{n}"},
                headers=(("x-user", f"u{n}"),),
            )
            for n in range(begin, begin + EACH)
        )
        await client.map(requests).each(lambda outcome: None)
        endpoint.attempts.clear()
        endpoint.times.clear()
        gc.collect()

    endpoint = FakeEndpoint()
    async with endpoint.client([make() for make in POLICIES]) as client:
        await calls(0)
        tracemalloc.start()
        try:
            await calls(EACH)
            before, _ = tracemalloc.get_traced_memory()
            await calls(2 * EACH)
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert after - before < 60 * EACH, f"{(after - before) / EACH:.0f} bytes a model"
