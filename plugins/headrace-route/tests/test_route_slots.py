"""Slots of endpoints: no slot is lost or exceeded, in any order of starts, ends and cancellations."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from typing import Any

import anyio
import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace import Call, CallError, Endpoint, RateLimited, Reply, Request, StatusError, Timeout
from headrace.replies import Headers
from headrace_route import Route

ENDPOINTS = [
    Endpoint("http://a.test/v1", name="a", max_in_flight=2),
    Endpoint("http://b.test/v1", name="b", max_in_flight=1),
    Endpoint("http://c.test/v1", name="c", max_in_flight=3),
]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.sets(st.sampled_from(range(3)), min_size=1)),
        st.tuples(st.just("call"), st.sets(st.sampled_from(range(2)), min_size=1, max_size=1)),
        st.tuples(
            st.sampled_from(["answer", "fail", "reject", "cancel", "cancel as it ends"]), st.integers(0, 9)
        ),
    ),
    max_size=40,
)


@attrs.define(eq=False)
class SimulatedCall:
    """One call: the endpoint it is at, and how to end its attempt or cancel it."""

    scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)
    at: str | None = None
    over: bool = False
    error: CallError | None = None
    end: anyio.Event = attrs.field(factory=anyio.Event)


class SlotSimulation:
    """Runs steps, and checks the slots after each."""

    def __init__(self, by: Any) -> None:
        self.route = Route(by=by, rng=random.Random(1))
        self.send = self.route.wrap(self._attempt)
        self.calls: list[SimulatedCall] = []

    async def _attempt(self, call: Call) -> Reply:
        simulated: SimulatedCall = call.notes["simulated"]
        simulated.at = call.endpoint.name
        try:
            await simulated.end.wait()
        finally:
            simulated.at = None
        error, simulated.error, simulated.end = simulated.error, None, anyio.Event()
        if error is not None:
            raise error
        return Reply(200, Headers([]), b"{}")

    async def _send(self, simulated: SimulatedCall, endpoints: list[Endpoint]) -> None:
        call = Call(Request({}), endpoints[0], b"{}", Timeout(None), 0.0, endpoints=tuple(endpoints))
        call.notes["simulated"] = simulated
        with simulated.scope, contextlib.suppress(CallError):
            await self.send(call)
        simulated.over = True

    async def play(self, steps: list[tuple[str, Any]]) -> None:
        async with anyio.create_task_group() as group:
            for step, which in steps:
                if step == "call":
                    self.calls.append(SimulatedCall())
                    group.start_soon(
                        self._send, self.calls[-1], [ENDPOINTS[number] for number in sorted(which)]
                    )
                else:
                    self._end(step, which)
                await self._settle()
            while self.calls:
                self._end("answer", 0)
                await self._settle()
        assert [self.route.in_flight(name) for name in "abc"] == [0, 0, 0]

    def _end(self, step: str, which: int) -> None:
        if not self.calls:
            return
        simulated = self.calls[which % len(self.calls)]
        if step in {"fail", "reject"}:
            simulated.error = RateLimited("429", 429) if step == "fail" else StatusError("400", 400)
            simulated.error.retryable = step == "fail"
        if step != "cancel":
            ending = simulated
            if simulated.at is None:
                # It waits: another call ends, and this one may get that slot while it is cancelled.
                simulated.error = None
                ending = next((each for each in self.calls if each.at is not None), simulated)
            ending.end.set()
        if "cancel" in step:
            simulated.scope.cancel()

    async def _settle(self) -> None:
        for _ in range(8):  # enough for this test; anyio.wait_all_tasks_blocked is slow on asyncio
            await anyio.lowlevel.checkpoint()
        self._check()

    def _check(self) -> None:
        self.calls = [simulated for simulated in self.calls if not simulated.over]
        in_flight = Counter(simulated.at for simulated in self.calls if simulated.at is not None)
        for endpoint in ENDPOINTS:
            assert self.route.in_flight(endpoint.name) == in_flight[endpoint.name]
            assert in_flight[endpoint.name] <= (endpoint.max_in_flight or 0)
        for waiter in self.route._slots.waiting:
            for endpoint in waiter.wanted:
                assert in_flight[endpoint.name] == endpoint.max_in_flight, (
                    "a call waits although a slot is free"
                )
        assert len(self.route._slots.waiting) + in_flight.total() == len(self.calls)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(max_examples=60, deadline=None)
@example(by="order", steps=[("call", {1}), ("call", {1}), ("cancel as it ends", 1)])
@given(by=st.sampled_from(["order", "weight", "least_in_flight"]), steps=STEPS)
def test_no_slot_is_lost_or_exceeded(backend: str, by: str, steps: list[tuple[str, Any]]) -> None:
    async def main() -> None:
        with anyio.fail_after(20):
            await SlotSimulation(by).play(steps)

    anyio.run(main, backend=backend)
