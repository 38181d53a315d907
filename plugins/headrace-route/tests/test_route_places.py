"""Places at endpoints: whatever order calls come, end and are cancelled in, none is lost and none overrun."""

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
            st.sampled_from(["answer", "fail", "refuse", "cancel", "cancel as it ends"]), st.integers(0, 9)
        ),
    ),
    max_size=40,
)


@attrs.define(eq=False)
class Asking:
    """One call: where it is, and how to end its try or to cancel it."""

    scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)
    at: str | None = None
    over: bool = False
    error: CallError | None = None
    end: anyio.Event = attrs.field(factory=anyio.Event)


class Places:
    """Plays steps, and looks at the places after each."""

    def __init__(self, by: Any) -> None:
        self.route = Route(by=by, rng=random.Random(1))
        self.send = self.route.wrap(self._try)
        self.asked: list[Asking] = []

    async def _try(self, call: Call) -> Reply:
        asking: Asking = call.notes["asking"]
        asking.at = call.endpoint.name
        try:
            await asking.end.wait()
        finally:
            asking.at = None
        error, asking.error, asking.end = asking.error, None, anyio.Event()
        if error is not None:
            raise error
        return Reply(200, Headers([]), b"{}")

    async def _ask(self, asking: Asking, endpoints: list[Endpoint]) -> None:
        call = Call(Request({}), endpoints[0], b"{}", Timeout(None), 0.0, endpoints=tuple(endpoints))
        call.notes["asking"] = asking
        with asking.scope, contextlib.suppress(CallError):
            await self.send(call)
        asking.over = True

    async def play(self, steps: list[tuple[str, Any]]) -> None:
        async with anyio.create_task_group() as group:
            for step, which in steps:
                if step == "call":
                    self.asked.append(Asking())
                    group.start_soon(
                        self._ask, self.asked[-1], [ENDPOINTS[number] for number in sorted(which)]
                    )
                else:
                    self._end(step, which)
                await self._settle()
            while self.asked:
                self._end("answer", 0)
                await self._settle()
        assert [self.route.in_flight(name) for name in "abc"] == [0, 0, 0]

    def _end(self, step: str, which: int) -> None:
        if not self.asked:
            return
        asking = self.asked[which % len(self.asked)]
        if step in {"fail", "refuse"}:
            asking.error = RateLimited("429", 429) if step == "fail" else StatusError("400", 400)
            asking.error.retryable = step == "fail"
        if step != "cancel":
            ending = asking
            if asking.at is None:  # it waits: another ends, and it may be given that place as it is cancelled
                asking.error = None
                ending = next((each for each in self.asked if each.at is not None), asking)
            ending.end.set()
        if "cancel" in step:
            asking.scope.cancel()

    async def _settle(self) -> None:
        for _ in range(8):  # nothing here waits for more; anyio.wait_all_tasks_blocked is slow on asyncio
            await anyio.lowlevel.checkpoint()
        self._check()

    def _check(self) -> None:
        self.asked = [asking for asking in self.asked if not asking.over]
        under_way = Counter(asking.at for asking in self.asked if asking.at is not None)
        for endpoint in ENDPOINTS:
            assert self.route.in_flight(endpoint.name) == under_way[endpoint.name]
            assert under_way[endpoint.name] <= (endpoint.max_in_flight or 0)
        for waiter in self.route._rooms.waiting:
            for endpoint in waiter.wanted:
                assert under_way[endpoint.name] == endpoint.max_in_flight, "it waits beside a free place"
        assert len(self.route._rooms.waiting) + under_way.total() == len(self.asked)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(max_examples=60, deadline=None)
@example(by="order", steps=[("call", {1}), ("call", {1}), ("cancel as it ends", 1)])
@given(by=st.sampled_from(["order", "weight", "least_in_flight"]), steps=STEPS)
def test_no_place_is_lost_or_overrun(backend: str, by: str, steps: list[tuple[str, Any]]) -> None:
    async def main() -> None:
        with anyio.fail_after(20):
            await Places(by).play(steps)

    anyio.run(main, backend=backend)
