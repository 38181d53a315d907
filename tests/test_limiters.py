"""PriorityCapacityLimiter and WaitingQueue, compared with a model and with anyio.CapacityLimiter."""

from __future__ import annotations

import gc
import math
import random
from collections.abc import Callable
from typing import Any

import anyio
import anyio.abc
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from headrace import PriorityCapacityLimiter
from headrace._support.waiting_queue import Waiter, WaitingQueue

on_both = pytest.mark.anyio


async def settle() -> None:
    await anyio.wait_all_tasks_blocked()


class Borrowers:
    """Tasks that acquire on behalf of names, and release on command."""

    def __init__(self, limiter: Any, group: anyio.abc.TaskGroup) -> None:
        self._limiter, self._group = limiter, group
        self._scopes: dict[str, anyio.CancelScope] = {}
        self.served: list[str] = []

    def come(self, name: str, **priority: float) -> None:
        self._scopes[name] = scope = anyio.CancelScope()

        async def acquire() -> None:
            with scope:
                await self._limiter.acquire_on_behalf_of(name, **priority)
                self.served.append(name)

        self._group.start_soon(acquire)

    def cancel(self, name: str) -> None:
        self._scopes[name].cancel()


@on_both
async def test_waiters_are_served_by_priority_then_fifo() -> None:
    limiter = PriorityCapacityLimiter(1)
    limiter.acquire_on_behalf_of_nowait("first")
    async with anyio.create_task_group() as group:
        borrowers = Borrowers(limiter, group)
        for name, priority in [("a", 0), ("b", 0), ("low", -1), ("high", 5), ("c", 0)]:
            borrowers.come(name, priority=priority)
            await settle()
        holder = "first"
        for expected in ["high", "a", "b", "c", "low"]:
            limiter.release_on_behalf_of(holder)
            # At the same moment, so that no other task can take it.
            assert limiter.statistics().borrowers == (expected,)
            with pytest.raises(anyio.WouldBlock):
                limiter.acquire_on_behalf_of_nowait("another")
            await settle()
            holder = expected
    assert borrowers.served == ["high", "a", "b", "c", "low"]


@on_both
async def test_acquiring_twice_or_releasing_without_a_token_raises() -> None:
    limiter = PriorityCapacityLimiter(2)
    await limiter.acquire()
    with pytest.raises(RuntimeError, match="has a token"):
        await limiter.acquire()
    with pytest.raises(RuntimeError, match="has a token"):
        limiter.acquire_nowait()
    limiter.release()
    with pytest.raises(RuntimeError, match="no token"):
        limiter.release()
    limiter.total_tokens = 0
    async with anyio.create_task_group() as group:
        group.start_soon(limiter.acquire_on_behalf_of, "waiting")
        await settle()
        with pytest.raises(RuntimeError, match="waits"):
            await limiter.acquire_on_behalf_of("waiting")
        group.cancel_scope.cancel()
    assert limiter.statistics().tasks_waiting == 0


@on_both
async def test_a_higher_total_serves_waiters_and_a_lower_one_lets_borrowers_finish() -> None:
    limiter = PriorityCapacityLimiter(1)
    async with anyio.create_task_group() as group:
        borrowers = Borrowers(limiter, group)
        for name in "abcde":
            borrowers.come(name)
            await settle()
        assert borrowers.served == ["a"]
        limiter.total_tokens = 4
        assert limiter.borrowed_tokens == 4
        await settle()
        assert sorted(borrowers.served) == ["a", "b", "c", "d"]
        limiter.total_tokens = 2
        assert limiter.available_tokens == -2
        for name in "ab":
            limiter.release_on_behalf_of(name)
            await settle()
        assert len(borrowers.served) == 4, "two are held still"
        limiter.release_on_behalf_of("c")
        await settle()
        assert borrowers.served[-1] == "e"
    assert repr(limiter) == "<PriorityCapacityLimiter: 2 of 2 borrowed>"


@pytest.mark.parametrize(
    ("total", "error"),
    [(1.5, TypeError), ("3", TypeError), (True, TypeError), (-1, ValueError), (-math.inf, TypeError)],
)
def test_an_invalid_total_raises(total: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="total_tokens"):
        PriorityCapacityLimiter(total)
    limiter = PriorityCapacityLimiter(math.inf)
    with pytest.raises(error, match="total_tokens"):
        limiter.total_tokens = total
    assert limiter.total_tokens == math.inf


@on_both
async def test_each_acquire_is_a_checkpoint() -> None:
    limiter, turns = PriorityCapacityLimiter(1), 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(count)
        for _ in range(1000):
            async with limiter:
                pass
        group.cancel_scope.cancel()
    assert turns >= 990
    with anyio.CancelScope() as scope:
        scope.cancel()
        await limiter.acquire()
    assert scope.cancelled_caught
    assert limiter.borrowed_tokens == 0


@on_both
async def test_a_cancelled_waiter_leaves_nothing_behind() -> None:
    limiter = PriorityCapacityLimiter(1)
    limiter.acquire_on_behalf_of_nowait("holder")

    async def wait(priority: int) -> None:
        with anyio.move_on_after(0):
            await limiter.acquire(priority=priority)

    async def many(number: int) -> None:
        async with anyio.create_task_group() as group:
            for each in range(number):
                group.start_soon(wait, each % 7)

    await many(10)
    for _ in range(20):
        await many(1000)
    assert limiter.statistics().tasks_waiting == 0
    gc.collect()
    assert not [each for each in gc.get_objects() if type(each) is Waiter]
    limiter.release_on_behalf_of("holder")
    assert limiter.borrowed_tokens == 0


@on_both
@pytest.mark.parametrize("seed", range(30))
async def test_cancellation_neither_loses_nor_creates_tokens(seed: int) -> None:
    rng, limiter, inside = random.Random(seed), PriorityCapacityLimiter(3), 0

    async def come() -> None:
        nonlocal inside
        with anyio.move_on_after(rng.random() / 100):
            await limiter.acquire(priority=rng.randrange(3))
            inside += 1
            assert inside <= 3
            try:
                await anyio.sleep(rng.random() / 200)
            finally:
                inside -= 1
                limiter.release()

    async with anyio.create_task_group() as group:
        for _ in range(80):
            group.start_soon(come)
            if rng.random() < 0.3:
                await anyio.sleep(rng.random() / 500)
    assert limiter.borrowed_tokens == limiter.statistics().tasks_waiting == 0


class Model:
    """A simple model of a limiter."""

    def __init__(self, total: int) -> None:
        self.total, self.holding, self.waiting = total, list[str](), list[tuple[int, str]]()

    def come(self, name: str, priority: int) -> None:
        self.waiting.append((priority, name))
        self.serve()

    def serve(self) -> None:
        while self.waiting and len(self.holding) < self.total:
            served = max(self.waiting, key=lambda each: each[0])  # the first of the highest
            self.waiting.remove(served)
            self.holding.append(served[1])

    def release(self, name: str) -> None:
        self.holding.remove(name)
        self.serve()

    def leave(self, name: str) -> None:
        self.waiting = [each for each in self.waiting if each[1] != name]

    def resize(self, total: int) -> None:
        self.total = total
        self.serve()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("come"), st.integers(-2, 2)),
        st.tuples(st.just("release"), st.integers(0, 20)),
        st.tuples(st.just("cancel"), st.integers(0, 20)),
        st.tuples(st.just("resize"), st.integers(0, 5)),
    ),
    max_size=40,
)


async def play(make: Callable[[int], Any], steps: list[tuple[str, int]], *, priorities: bool) -> None:
    """Apply the same steps to a limiter and to the model, and compare them after each one."""
    limiter, model, number = make(2), Model(2), 0
    async with anyio.create_task_group() as group:
        borrowers = Borrowers(limiter, group)
        for step, value in steps:
            waiting = [name for _, name in model.waiting]
            if step == "come":
                number += 1
                name = f"borrower {number}"
                borrowers.come(name, **({"priority": value} if priorities else {}))
                model.come(name, value if priorities else 0)
            elif step == "release" and model.holding:
                name = model.holding[value % len(model.holding)]
                limiter.release_on_behalf_of(name)
                model.release(name)
            elif step == "cancel" and waiting:
                name = waiting[value % len(waiting)]
                borrowers.cancel(name)
                model.leave(name)
            elif step == "resize":
                limiter.total_tokens = value
                model.resize(value)
            await settle()
            statistics = limiter.statistics()
            assert set(statistics.borrowers) == set(model.holding)
            assert statistics.tasks_waiting == len(model.waiting)
            assert (limiter.total_tokens, limiter.borrowed_tokens) == (model.total, len(model.holding))
            assert limiter.available_tokens == model.total - len(model.holding)
        group.cancel_scope.cancel()


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
@given(steps=STEPS)
def test_the_limiter_behaves_like_its_model(backend: str, steps: list[tuple[str, int]]) -> None:
    async def main() -> None:
        await play(PriorityCapacityLimiter, steps, priorities=True)

    anyio.run(main, backend=backend)


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
@given(steps=STEPS)
def test_with_equal_priorities_it_behaves_like_anyios_limiter(
    backend: str, steps: list[tuple[str, int]]
) -> None:
    async def main() -> None:
        await play(PriorityCapacityLimiter, steps, priorities=False)
        await play(anyio.CapacityLimiter, steps, priorities=False)

    anyio.run(main, backend=backend)


# WaitingQueue.


def test_the_queue_is_ordered_and_waiters_leave_from_any_position() -> None:
    queue = WaitingQueue[str]()
    waiters = [Waiter(name, priority) for name, priority in [("a", 0), ("b", 1), ("c", 0), ("d", -1)]]
    for waiter in waiters:
        queue.join(waiter)
    assert [waiter.wanted for waiter in queue] == ["b", "a", "c", "d"]
    assert [queue.ahead_of(priority) for priority in (2, 1, 0, -1)] == [0, 1, 3, 4]
    queue.leave(waiters[0])
    queue.join(waiters[0])
    queue.join(Waiter("e", 0.5))
    assert [waiter.wanted for waiter in queue] == ["b", "e", "c", "a", "d"]
    first = queue.first()
    assert first is not None
    queue.serve(first)
    assert (first.wanted, first.served, len(queue)) == ("b", True, 4)


def test_the_queue_is_empty_after_100_000_waiters_have_left() -> None:
    queue = WaitingQueue[int]()
    waiters = [Waiter(number, number % 100) for number in range(100_000)]
    for waiter in waiters:
        queue.join(waiter)
    random.Random(7).shuffle(waiters)
    for waiter in waiters:
        queue.leave(waiter)
    assert (len(queue), list(queue), queue._lines, queue._priorities) == (0, [], {}, [])


@on_both
async def test_a_rejected_waiter_raises_its_error() -> None:
    queue, waiter = WaitingQueue[None](), Waiter(None)

    async def refuse() -> None:
        queue.serve(waiter, ValueError("no"))

    async with anyio.create_task_group() as group:
        group.start_soon(refuse)
        with pytest.raises(ValueError, match="no"):
            await queue.wait(waiter, lambda: pytest.fail("it was given nothing"))


@on_both
async def test_a_woken_waiter_that_is_not_served_continues_to_wait() -> None:
    queue, waiter, looked = WaitingQueue[None](), Waiter(None), 0

    async def wake() -> None:
        nonlocal looked
        for _ in range(3):
            waiter.wake()
            await settle()
            looked += 1
        queue.serve(waiter)

    async with anyio.create_task_group() as group:
        group.start_soon(wake)
        await queue.wait(waiter, lambda: None)
    assert looked == 3
