"""The hedge policy in a client, on trio and asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest
import trio

import headrace
from headrace import Call, Endpoint, Reply, SettingsError, Stage
from headrace.testing import Answer, EventRecorder, FakeEndpoint, check_policy_contract
from headrace.transports.memory import MemoryTransport
from headrace_hedge import Hedge

URL = "http://fake.test/v1"
SLOW = Answer("slow", delay=5.0)
SLOW_THEN_QUICK: list[Answer | str] = [SLOW, "quick"]
PRICES = {"fake-model": {"input": "1", "output": "2"}}


def hedge(after: float | str = 0.01, **more: Any) -> Hedge:
    """A policy that may hedge every call."""
    return Hedge(after=after, **{"share": 1.0} | more)


class StagedEndpoint:
    """An endpoint in memory whose replies come in a fixed order, independent of time.

    Args:
        turns: For each request in order, its reply and the number of events to wait for. An event is the
            start or the end of a request.
    """

    def __init__(self, *turns: tuple[Any, int]) -> None:
        self._turns = iter([(FakeEndpoint(step), count) for step, count in turns])
        self._events: list[anyio.Event] = []
        self.in_flight = 0

    def client(self, policies: list[Any], **more: Any) -> headrace.Client:
        transport = MemoryTransport(self.handle)
        return headrace.Client(base_url=URL, model="m", policies=policies, transport=transport, **more)

    async def handle(self, call: Call) -> Reply:
        fake, count = next(self._turns)
        self.in_flight += 1
        self._count_event()
        try:
            await self.wait_for_events(count)
            return await fake.handle(call)
        finally:
            self.in_flight -= 1
            self._count_event()

    async def wait_for_events(self, count: int) -> None:
        """Wait for ``count`` events."""
        while sum(event.is_set() for event in self._events) < count:
            await self._next_event().wait()

    def _count_event(self) -> None:
        self._next_event().set()

    def _next_event(self) -> anyio.Event:
        if not self._events or self._events[-1].is_set():
            self._events.append(anyio.Event())
        return self._events[-1]


NEVER = 1000
"""More events than there are."""


async def fill_budget(policy: Hedge) -> None:
    """Make quick calls, so that a later call may have several extra requests."""
    async with FakeEndpoint().client([policy]) as client:
        for _ in range(5):
            await client.chat("?")


def tasks() -> int:
    """The number of running tasks."""
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        return trio.lowlevel.current_statistics().tasks_living


@asynccontextmanager
async def no_tasks_left() -> AsyncIterator[None]:
    before = tasks()
    yield
    assert tasks() == before


@pytest.mark.anyio
@pytest.mark.parametrize("make", [Hedge, lambda: hedge(60.0), lambda: hedge("p95")])
async def test_policy_contract(make: Any) -> None:
    await check_policy_contract(make)


def test_policy_is_active_only_with_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def found(**sections: Any) -> list[Hedge]:
        return [each for each in FakeEndpoint().client(None, **sections).policies if isinstance(each, Hedge)]

    assert found() == []
    assert [each.after for each in found(hedge={"after": 2})] == [2.0]
    for text, after in (("2.5", 2.5), ("p95", "p95"), ("p99.9", "p99.9")):
        monkeypatch.setenv("HEADRACE_HEDGE_AFTER", text)
        assert [each.after for each in found()] == [after]
    monkeypatch.setenv("HEADRACE_HEDGE_AFTER", "null")
    assert found() == []


def test_without_after_send_is_returned_unchanged() -> None:
    async def send(call: Call) -> Reply:
        raise NotImplementedError

    assert Hedge().wrap(send) is send


@pytest.mark.parametrize(
    "wrong",
    [
        {"after": 0.0},
        {"after": float("inf")},
        {"after": "p0"},
        {"after": "p100"},
        {"after": "p-5"},
        {"after": "nan"},
        {"after": "soon"},
        {"most": 0},
        {"share": 0.0},
        {"share": 1.1},
    ],
)
def test_out_of_range_values_are_rejected(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="hedge: "):
        Hedge(**wrong)


@pytest.mark.anyio
async def test_slow_request_is_sent_again_and_the_first_reply_is_used() -> None:
    policy, recorder, endpoint = hedge(), EventRecorder(), FakeEndpoint(SLOW, "quick")
    async with endpoint.client([policy], observers=[recorder]) as client, no_tasks_left():
        reply = await client.chat("?")
        assert endpoint.in_flight == 0
    assert (reply.text, reply.attempts) == ("quick", 2)
    assert (policy.sent, policy.won) == (1, 1)
    assert recorder.data("hedge") == [
        {"state": "sent", "after": 0.01},
        {"state": "won", "endpoint": "fake.test"},
    ]


@pytest.mark.anyio
async def test_first_request_may_still_win() -> None:
    policy, recorder, endpoint = hedge(), EventRecorder(), StagedEndpoint(("first", 2), ("second", NEVER))
    async with endpoint.client([policy], observers=[recorder]) as client, no_tasks_left():
        reply = await client.chat("?")
        assert endpoint.in_flight == 0
    assert (reply.text, reply.attempts) == ("first", 2)
    assert (policy.sent, policy.won) == (1, 0)
    assert recorder.data("hedge") == [{"state": "sent", "after": 0.01}]


@pytest.mark.anyio
async def test_quick_call_is_sent_once() -> None:
    policy, endpoint = hedge(10.0), FakeEndpoint()
    async with endpoint.client([policy]) as client:
        assert (await client.chat("?")).attempts == 1
    assert policy.sent == 0


@pytest.mark.anyio
async def test_most_limits_the_extra_requests() -> None:
    policy = hedge(most=3)
    await fill_budget(policy)
    endpoint = StagedEndpoint(*[("no", NEVER)] * 3, ("fourth", 4))
    async with endpoint.client([policy]) as client:
        reply = await client.chat("?")
    assert (reply.text, reply.attempts, policy.won) == ("fourth", 4, 1)


@pytest.mark.anyio
async def test_failure_before_a_second_request_is_raised_at_once() -> None:
    policy, endpoint = hedge(10.0), FakeEndpoint(503)
    async with endpoint.client([policy]) as client:
        with pytest.raises(headrace.ServerError) as caught:
            await client.chat("?")
    assert (caught.value.attempts, policy.sent) == (1, 0)


@pytest.mark.anyio
@pytest.mark.parametrize("turns", [[(503, 2), ("ok", 3)], [("ok", 3), (503, 2)]])
async def test_failed_request_leaves_the_call_to_the_other(turns: list[tuple[Any, int]]) -> None:
    policy = hedge()
    async with StagedEndpoint(*turns).client([policy]) as client, no_tasks_left():
        reply = await client.chat("?")
    assert (reply.text, reply.attempts, policy.sent) == ("ok", 2, 1)


@pytest.mark.anyio
@pytest.mark.parametrize("turns", [[(503, 2), (429, 3)], [(503, 3), (429, 2)]])
async def test_error_of_the_first_is_raised_if_both_fail(
    turns: list[tuple[Any, int]],
) -> None:
    async with StagedEndpoint(*turns).client([hedge()]) as client, no_tasks_left():
        with pytest.raises(headrace.ServerError) as caught:
            await client.chat("?")
    assert caught.value.attempts == 2
    assert caught.value.__context__ is None


@pytest.mark.anyio
async def test_unexpected_error_is_raised_at_once() -> None:
    policy, endpoint = hedge(), FakeEndpoint(SLOW, ZeroDivisionError("a bug"))
    async with endpoint.client([policy]) as client, no_tasks_left():
        with pytest.raises(headrace.PolicyError, match="the transport raised ZeroDivisionError: a bug"):
            await client.chat("?")
        assert endpoint.in_flight == 0


@pytest.mark.anyio
async def test_inner_policy_that_raises_is_named() -> None:
    class FailingPolicy:
        name = "failing"
        stage = Stage.PACE

        def wrap(self, send: headrace.Send) -> headrace.Send:
            async def fail(call: Call) -> Reply:
                raise KeyError("x")

            return fail

    async with FakeEndpoint().client([hedge(), FailingPolicy()]) as client:
        with pytest.raises(headrace.PolicyError, match="policy 'failing' raised KeyError"):
            await client.chat("?")


@pytest.mark.anyio
async def test_streams_and_requests_that_change_something_are_sent_once() -> None:
    policy = hedge(0.001)
    endpoint = FakeEndpoint(otherwise=Answer("one two", delay=0.03))
    async with endpoint.client([policy]) as client:
        async with client.stream("?") as stream:
            assert "".join([chunk.text async for chunk in stream]) == "one two"
        await client.request("POST", "/batches", {"input_file_id": "f"})
        await client.request("DELETE", "/files/f_1")
    assert (policy.sent, len(endpoint.attempts)) == (0, 3)


@pytest.mark.anyio
async def test_get_requests_are_hedged() -> None:
    policy = hedge()
    async with StagedEndpoint(("first", NEVER), ("second", 0)).client([policy]) as client:
        assert (await client.request("GET", "/models")).status == 200
    assert (policy.sent, policy.won) == (1, 1)


@pytest.mark.anyio
async def test_outer_cancellation_ends_both_requests() -> None:
    policy, endpoint = hedge(), StagedEndpoint(("no", NEVER), ("no", NEVER), ("ok", 0))
    async with endpoint.client([policy]) as client, no_tasks_left():
        async with anyio.create_task_group() as group:
            group.start_soon(client.chat, "?")
            await endpoint.wait_for_events(2)
            group.cancel_scope.cancel()
        assert (policy.sent, endpoint.in_flight, client.in_flight) == (1, 0, 0)
        assert (await client.chat("?")).text == "ok"


@pytest.mark.anyio
async def test_deadline_applies_to_both_requests() -> None:
    endpoint = FakeEndpoint(SLOW, SLOW)
    async with endpoint.client([hedge()]) as client, no_tasks_left():
        with pytest.raises(headrace.DeadlineExceeded, match="2 attempts"):
            await client.chat("?", deadline=0.5)
        assert endpoint.in_flight == 0


@pytest.mark.anyio
async def test_winner_is_priced_and_loser_is_possible_cost() -> None:
    Cost = pytest.importorskip("headrace_cost").Cost
    cost = Cost(prices=PRICES, budget=Decimal("0.00025"))
    endpoint = FakeEndpoint(SLOW, Answer("quick", prompt_tokens=20, completion_tokens=10))
    async with endpoint.client([hedge(), cost]) as client:
        reply = await client.chat("?", max_tokens=10)
        assert reply.cost == Decimal("0.00004")
        assert reply.possible_cost is not None
        assert Decimal("0.00008") < reply.possible_cost < Decimal("0.00012")
        # What the winner did not use is free again; what the loser may cost is not.
        await client.chat("?", max_tokens=1)
        with pytest.raises(headrace.BudgetExceeded, match="that may have been billed"):
            await client.chat("?", max_tokens=10)
    assert cost.totals.calls == 2
    assert cost.totals.cost == Decimal("0.00006")
    assert (cost.totals.uncertain, cost.totals.possible_cost) == (1, reply.possible_cost)


@pytest.mark.anyio
async def test_hedge_without_budget_leaves_the_first_request_alone() -> None:
    Cost = pytest.importorskip("headrace_cost").Cost
    cost = Cost(prices=PRICES, budget=Decimal("0.00012"))
    endpoint = FakeEndpoint(Answer("first", delay=0.5))
    async with endpoint.client([hedge(), cost]) as client:
        assert (await client.chat("?", max_tokens=10)).text == "first"
    assert len(endpoint.attempts) == 1


@pytest.mark.anyio
async def test_cancelled_loser_is_not_a_failure_for_the_breaker() -> None:
    Breaker = pytest.importorskip("headrace_breaker").Breaker
    breaker = Breaker.classic()
    endpoint = FakeEndpoint(*SLOW_THEN_QUICK * 10)
    async with endpoint.client([hedge(), breaker]) as client:
        for _ in range(10):
            assert (await client.chat("?")).text == "quick"
    assert breaker.state(URL) == "closed"


@pytest.mark.anyio
async def test_loser_releases_its_adaptive_token() -> None:
    Adaptive = pytest.importorskip("headrace_adaptive").Adaptive
    adaptive, endpoint = Adaptive(start=2), FakeEndpoint(*SLOW_THEN_QUICK * 10)
    async with endpoint.client([hedge(), adaptive]) as client:
        for _ in range(10):
            assert (await client.chat("?")).text == "quick"
    assert endpoint.most_in_flight == 2


@pytest.mark.anyio
async def test_both_requests_are_retried_and_all_attempts_count() -> None:
    Retry = pytest.importorskip("headrace_retry").Retry
    endpoint = FakeEndpoint(SLOW, 503, 503, "quick")
    async with endpoint.client([hedge(), Retry(base=0)]) as client:
        reply = await client.chat("?")
    assert (reply.text, reply.attempts) == ("quick", 4)


@pytest.mark.anyio
async def test_second_request_starts_from_the_initial_state() -> None:
    class NoteWriter:
        name = "note_writer"
        stage = Stage.PACE
        seen = 0

        def wrap(self, send: headrace.Send) -> headrace.Send:
            async def write(call: Call) -> Reply:
                assert self.name not in call.notes, "the notes of another request"
                call.notes[self.name] = number = self.seen
                call.content = b"%d" % number
                self.seen += 1
                return await send(call)

            return write

    class OuterPolicy:
        name = "outer"
        stage = Stage.OBSERVE
        seen: Any = None

        def wrap(self, send: headrace.Send) -> headrace.Send:
            async def observe(call: Call) -> Reply:
                call.notes[self.name] = "kept"
                reply = await send(call)
                self.seen = call.content, call.notes
                return reply

            return observe

    outer = OuterPolicy()
    for winner, turns in enumerate(([("first", 2), ("second", NEVER)], [("first", NEVER), ("second", 2)])):
        async with StagedEndpoint(*turns).client([hedge(), NoteWriter(), outer]) as client:
            await client.chat("?")
        assert outer.seen == (b"%d" % winner, {"outer": "kept", "note_writer": winner})


@attrs.frozen
class ItemCount:
    number: int


@pytest.mark.anyio
async def test_repair_messages_stay_with_their_request() -> None:
    Repair = pytest.importorskip("headrace_repair").Repair
    endpoint = FakeEndpoint("no number", SLOW, '{"number": 7}')
    async with endpoint.client([hedge(0.3), Repair()]) as client:
        assert (await client.chat("How many?", answer=ItemCount)).answer == ItemCount(7)
    lengths = [len(attempt.body["messages"]) for attempt in endpoint.attempts if attempt.body]
    assert lengths == [1, 3, 1]


class EndpointGroup:
    """Several endpoints in memory, by name."""

    def __init__(self, **fakes: FakeEndpoint) -> None:
        self.fakes = fakes

    def client(self, *policies: headrace.Policy) -> headrace.Client:
        async def handle(call: Call) -> Reply:
            return await self.fakes[call.endpoint.name].handle(call)

        return headrace.Client(
            endpoints=[Endpoint(f"http://{name}.test/v1", name=name) for name in self.fakes],
            model="m",
            policies=policies,
            transport=MemoryTransport(handle),
        )


@pytest.mark.anyio
@pytest.mark.parametrize("others", [(), ("route",), ("route", "retry")])
async def test_second_request_goes_to_another_endpoint(others: tuple[str, ...]) -> None:
    settings = {"route": {"by": "order"}, "retry": {}}
    more = [
        getattr(pytest.importorskip(f"headrace_{name}"), name.capitalize())(**settings[name])
        for name in others
    ]
    endpoints, recorder = (
        EndpointGroup(a=FakeEndpoint(otherwise=SLOW), b=FakeEndpoint(otherwise="from b")),
        EventRecorder(),
    )
    client = endpoints.client(hedge(), *more)
    client.observe(recorder)
    async with client, no_tasks_left():
        for _ in range(3):
            assert (await client.chat("?")).text == "from b"
    assert [len(fake.attempts) for fake in endpoints.fakes.values()] == [3, 3]
    assert recorder.data("hedge")[-1] == {"state": "won", "endpoint": "b"}


@pytest.mark.anyio
async def test_winner_is_priced_at_its_endpoint() -> None:
    Cost = pytest.importorskip("headrace_cost").Cost
    Route = pytest.importorskip("headrace_route").Route
    cost = Cost(prices={"a/m": {"input": "1", "output": "1"}, "b/m": {"input": "10", "output": "10"}})
    endpoints = EndpointGroup(a=FakeEndpoint(SLOW, "from a"), b=FakeEndpoint("from b"))
    async with endpoints.client(hedge(), Route(by="order"), cost) as client:
        assert (await client.chat("?")).cost == Decimal("0.00015")
        assert (await client.chat("?")).cost == Decimal("0.000015")


@pytest.mark.anyio
async def test_fourth_request_returns_to_the_first_endpoint() -> None:
    policy = hedge(most=3)
    await fill_budget(policy)
    endpoints = EndpointGroup(a=FakeEndpoint(SLOW, "fourth"), b=FakeEndpoint(SLOW), c=FakeEndpoint(SLOW))
    async with endpoints.client(policy) as client:
        assert (await client.chat("?")).text == "fourth"
    assert [len(fake.attempts) for fake in endpoints.fakes.values()] == [2, 1, 1]
