"""The route policy in a client, over endpoints in memory and over sockets."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from decimal import Decimal
from typing import Any

import anyio
import pytest

import headrace
from fake_endpoints import FakeEndpoints
from headrace import Call, Client, Endpoint, Reply, Send, SettingsError, Stage
from headrace.testing import Answer, EventRecorder, FakeEndpoint, check_policy_contract
from headrace.testing.server import Behaviour, endpoint_process
from headrace_route import Route

pytestmark = pytest.mark.anyio


async def test_route_fulfils_the_policy_contract() -> None:
    await check_policy_contract(Route)


async def test_a_failed_call_goes_to_the_next_endpoint_at_once() -> None:
    fakes, recorder = FakeEndpoints(a=FakeEndpoint(otherwise=500), b=FakeEndpoint("from b")), EventRecorder()
    async with fakes.client(Route(by="order"), observers=[recorder]) as client:
        reply = await client.chat("?")
    assert (reply.text, reply.attempts) == ("from b", 2)
    assert recorder.data("failover") == [{"endpoint": "a", "error": "server_error"}]


async def test_each_endpoint_gets_one_attempt_and_a_retry_starts_again() -> None:
    Retry = pytest.importorskip("headrace_retry").Retry
    fakes = FakeEndpoints(a=FakeEndpoint(500, 500), b=FakeEndpoint(429, "at last"))
    async with fakes.client(Route(by="order"), Retry(attempts=2, base=0)) as client:
        assert (await client.chat("?")).attempts == 4
    fakes = FakeEndpoints(a=FakeEndpoint(otherwise=500), b=FakeEndpoint(otherwise=429))
    async with fakes.client(Route(by="order")) as client:
        with pytest.raises(headrace.RateLimited) as caught:
            await client.chat("?")
    assert (caught.value.attempts, fakes.attempts) == (2, {"a": 1, "b": 1})


async def test_client_errors_are_not_failed_over() -> None:
    fakes = FakeEndpoints(a=FakeEndpoint(400), b=FakeEndpoint())
    async with fakes.client(Route(by="order")) as client:
        with pytest.raises(headrace.StatusError):
            await client.chat("?")
    assert fakes.attempts == {"a": 1, "b": 0}


async def test_an_endpoint_with_an_open_circuit_is_skipped() -> None:
    Breaker = pytest.importorskip("headrace_breaker").Breaker
    fakes = FakeEndpoints(a=FakeEndpoint(otherwise=500), b=FakeEndpoint())
    breaker = Breaker.classic()
    async with fakes.client(Route(by="order"), breaker) as client:
        for _ in range(20):
            assert (await client.chat("?")).text == "ok"
    assert fakes.attempts == {"a": 5, "b": 20}
    assert breaker.state("http://a.test/v1") == "open"


async def test_if_all_circuits_are_open_circuit_open_is_raised() -> None:
    Breaker = pytest.importorskip("headrace_breaker").Breaker
    fakes = FakeEndpoints(a=FakeEndpoint(otherwise=500), b=FakeEndpoint(otherwise=500))
    async with fakes.client(Route(), Breaker.classic()) as client:
        for _ in range(5):
            with pytest.raises(headrace.ServerError):
                await client.chat("?")
        with pytest.raises(headrace.CircuitOpen):
            await client.chat("?")


async def test_a_stream_fails_over_only_before_its_first_chunk() -> None:
    whole = Answer("one two").events("m")
    fakes = FakeEndpoints(
        a=FakeEndpoint(503, Answer(body=whole[: len(whole) // 2])), b=FakeEndpoint("from b")
    )
    async with fakes.client(route := Route(by="order")) as client:
        async with client.stream("?") as stream:
            assert (await anext(stream)).text == "from"
            assert route.in_flight("b") == 1
            assert [chunk.text async for chunk in stream] == [" b"]
        async with client.stream("?") as stream:
            with pytest.raises(headrace.CallError) as caught:
                _ = [chunk async for chunk in stream]
    assert caught.value.partial is not None
    assert (fakes.attempts, route.in_flight("a"), route.in_flight("b")) == ({"a": 2, "b": 1}, 0, 0)


async def test_calls_over_an_endpoint_s_limit_go_to_another_endpoint() -> None:
    slow = Answer(delay=0.01)
    fakes = FakeEndpoints(a=FakeEndpoint(otherwise=slow), b=FakeEndpoint(otherwise=slow))
    limits = {"a": 3, "b": 4}
    async with (
        fakes.client(Route(by="order"), limits=limits, max_in_flight=50) as client,
        client.map(["?"] * 70) as outcomes,
    ):
        assert all([outcome.ok async for outcome in outcomes])
    assert [fake.most_in_flight for fake in fakes.by_name.values()] == [3, 4]


async def test_the_limit_of_a_single_endpoint_is_kept() -> None:
    fakes = FakeEndpoints(a=FakeEndpoint(otherwise=Answer(delay=0.005)))
    async with (
        fakes.client(Route(), limits={"a": 2}, max_in_flight=10) as client,
        client.map(["?"] * 20) as outcomes,
    ):
        assert all([outcome.ok async for outcome in outcomes])
    assert fakes.by_name["a"].most_in_flight == 2


async def test_waiters_are_served_by_priority_and_then_fifo() -> None:
    all_wait, done = anyio.Event(), list[int]()

    class BlockedEndpoints(FakeEndpoints):
        async def handle(self, call: Call) -> Reply:
            await all_wait.wait()
            return await super().handle(call)

    async def ask(client: Client, number: int) -> None:
        await client.chat("?", priority=number // 5 if number else 9)
        done.append(number)

    fakes = BlockedEndpoints(a=FakeEndpoint())

    async with fakes.client(Route(), limits={"a": 1}) as client, anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(ask, client, number)
            await anyio.wait_all_tasks_blocked()
        all_wait.set()
    assert done == [0, *range(5, 10), *range(1, 5)]


@pytest.mark.parametrize("seed", range(20))
async def test_cancelled_calls_lose_no_slot(seed: int) -> None:
    rng = random.Random(seed)
    steps: list[Any] = [rng.choice(["ok", 500, Answer(delay=rng.random() / 100)]) for _ in range(200)]
    fakes = FakeEndpoints(a=FakeEndpoint(*steps[:100]), b=FakeEndpoint(*steps[100:]))
    route = Route(by=rng.choice(["weight", "order", "least_in_flight"]), rng=rng)

    async def ask(client: Client) -> None:
        with anyio.move_on_after(rng.random() / 50), contextlib.suppress(headrace.CallError):
            await client.chat("?")

    async with fakes.client(route, limits={"a": 2, "b": 1}, max_in_flight=100) as client:
        async with anyio.create_task_group() as group:
            for _ in range(60):
                group.start_soon(ask, client)
        assert (route.in_flight("a"), route.in_flight("b")) == (0, 0)
        with anyio.fail_after(5):
            fakes.by_name |= {"a": FakeEndpoint(), "b": FakeEndpoint()}
            for _ in range(5):
                await client.chat("?")


async def test_cost_uses_each_endpoint_s_own_price() -> None:
    Cost = pytest.importorskip("headrace_cost").Cost
    prices = {"a/m": {"input": 2, "output": 2}, "m-at-b": {"input": 1, "output": 1}}
    fakes, cost = FakeEndpoints(a=FakeEndpoint(), b=FakeEndpoint(500, "ok")), Cost(prices=prices)
    async with fakes.client(Route(by="cost"), cost, b={"models": {"m": "m-at-b"}}) as client:
        expensive, cheap = await client.chat("?"), await client.chat("?")
    assert fakes.attempts == {"a": 1, "b": 2}
    assert (expensive.cost, cheap.cost) == (Decimal("0.00003"), Decimal("0.000015"))


async def test_a_budget_reserves_at_the_price_of_the_attempt_s_endpoint() -> None:
    Cost = pytest.importorskip("headrace_cost").Cost
    prices = {"a/m": {"input": 0, "output": 1}, "b/m": {"input": 0, "output": 5}}
    fakes = FakeEndpoints(a=FakeEndpoint(503), b=FakeEndpoint())
    async with fakes.client(Route(by="order"), Cost(prices=prices, budget="0.000004")) as client:
        with pytest.raises(headrace.BudgetExceeded, match=r"may cost 0\.000005 USD"):
            await client.chat("?", max_tokens=1)
        assert (await client.chat("?", max_tokens=1)).text == "ok"
    assert len(fakes.by_name["b"].attempts) == 0


async def test_a_budget_fails_at_an_endpoint_without_a_price() -> None:
    Cost = pytest.importorskip("headrace_cost").Cost
    fakes = FakeEndpoints(a=FakeEndpoint(), b=FakeEndpoint())
    cost = Cost(prices={"a/m": {"input": 0, "output": 1}}, budget=1)
    async with fakes.client(Route(by="order"), cost) as client:
        assert (await client.chat("?", max_tokens=1)).text == "ok"
        fakes.by_name["a"].then(503)
        with pytest.raises(headrace.BudgetExceeded, match="'m' has no price at b"):
            await client.chat("?", max_tokens=1)


async def test_cost_without_headrace_cost_is_an_error() -> None:
    fakes = FakeEndpoints(a=FakeEndpoint(), b=FakeEndpoint())
    async with fakes.client(Route(by="cost")) as client:
        with pytest.raises(SettingsError, match="needs headrace-cost"):
            await client.chat("?")


async def test_real_endpoints_share_the_calls_and_a_dead_one_is_skipped() -> None:
    pytest.importorskip("uvicorn")
    Breaker = pytest.importorskip("headrace_breaker").Breaker
    Retry = pytest.importorskip("headrace_retry").Retry
    async with endpoint_process() as a, endpoint_process(Behaviour(errors=0.1)) as b:
        endpoints = [
            Endpoint(a.base_url, name="a", weight=3),
            Endpoint(b.base_url, name="b", models={"m": "m-at-b"}),
            Endpoint("http://127.0.0.1:9/v1", name="gone"),
        ]
        seen: Counter[str | None] = Counter()
        policies: list[headrace.Policy] = [Route(rng=random.Random(1)), Retry(base=0.01), Breaker.classic()]
        async with (
            Client(endpoints=endpoints, model="m", policies=policies) as client,
            client.map(["Hello"] * 400) as outcomes,
        ):
            async for outcome in outcomes:
                seen[outcome.unwrap().model] += 1
    assert seen.total() == 400
    assert 0.6 < seen["m"] / 400 < 0.9
    assert seen["m-at-b"] == 400 - seen["m"]


def test_an_unknown_strategy_is_rejected() -> None:
    with pytest.raises(SettingsError, match="by='random': must be one of order, weight"):
        Route(by="random")  # type: ignore[arg-type]


def test_the_plugin_is_active_if_there_is_something_to_select() -> None:
    def names(*endpoints: Endpoint) -> list[str]:
        client = Client(endpoints=endpoints, route={"by": "order"})
        return [policy.name for policy in client.policies]

    one, two = Endpoint("http://a.test/v1"), Endpoint("http://b.test/v1")
    assert "route" not in names(one)
    active, order = names(one, two), ["repair", "retry", "route", "breaker", "pace"]
    assert "route" in active
    # Of the other policies, only the installed ones.
    assert [name for name in active if name in order] == [name for name in order if name in active]
    assert "route" in names(Endpoint("http://a.test/v1", max_in_flight=5))
    with pytest.raises(SettingsError, match="did you mean 'by'"):
        Client(endpoints=[one, two], route={"buy": "order"})


async def test_a_map_makes_other_calls_while_one_waits_for_a_slot() -> None:
    """The endpoint of model "a" has one slot; further calls of "a" block neither "b" nor a token."""
    endpoint = FakeEndpoint(otherwise=Answer(delay=60.0))
    endpoints = [
        Endpoint("http://a.test/v1", name="a", models=["a"], max_in_flight=1),
        Endpoint("http://b.test/v1", name="b", models=["b"]),
    ]
    client = endpoint.client([Route()], base_url=None, model=None, endpoints=endpoints, max_in_flight=2)
    items = [headrace.Request({"model": model, "messages": []}) for model in "aaab"]
    async with client, client.map(items):
        await anyio.wait_all_tasks_blocked()
        assert [request.model for request in endpoint.attempts] == ["a", "b"]


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_new_event_loop_starts_with_free_slots(backend: str) -> None:
    route = Route()

    async def leave_a_stream_open(streams: list[headrace.Stream]) -> None:
        async with FakeEndpoints(a=FakeEndpoint()).client(route, limits={"a": 1}) as client:
            streams.append(await client.stream("?").__aenter__())
        assert route.in_flight("a") == 1

    async def call_again() -> None:
        async with FakeEndpoints(a=FakeEndpoint()).client(route, limits={"a": 1}) as client:
            with anyio.fail_after(10):
                await client.chat("?")
        assert route.in_flight("a") == 0

    anyio.run(leave_a_stream_open, [], backend=backend)
    anyio.run(call_again, backend=backend)


async def test_a_call_that_waits_in_an_inner_policy_holds_no_slot() -> None:
    """Model "paused" waits in an inner policy, as after a 429; "well" uses the only slot meanwhile."""

    class Waiting:
        name = "waiting"
        stage = Stage.PACE
        over = anyio.Event()

        def wrap(self, send: Send) -> Send:
            async def wait(call: Call) -> Reply:
                if call.request.model == "paused":
                    async with call.waiting():
                        await self.over.wait()
                return await send(call)

            return wait

    route, fakes, waiting = (
        Route(by="order"),
        FakeEndpoints(a=FakeEndpoint(otherwise=Answer(delay=0.01))),
        Waiting(),
    )
    client = fakes.client(route, waiting, limits={"a": 1}, max_in_flight=1)
    async with client, anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(lambda: client.chat("?", model="paused"))
        await anyio.wait_all_tasks_blocked()
        assert (route.in_flight("a"), client.in_flight) == (0, 0)
        with anyio.fail_after(10):
            assert (await client.chat("?", model="well")).text == "ok"
            async with client.stream("?", model="well") as stream:
                assert route.in_flight("a") == 1
                waiting.over.set()  # the calls that waited need the slot again
                await anyio.wait_all_tasks_blocked()
                assert fakes.attempts == {"a": 2}
                async for _ in stream:
                    pass
    assert fakes.attempts == {"a": 5}
    assert fakes.by_name["a"].most_in_flight == 1
    assert route.in_flight("a") == 0
