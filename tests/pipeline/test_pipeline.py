"""The pipeline: the order of policies, what they may return, and what happens when they fail."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import anyio
import attrs
import pytest

from headrace import (
    Call,
    CallError,
    ConnectError,
    Event,
    PluginError,
    Policy,
    PolicyError,
    Reply,
    Send,
    Stage,
)
from headrace.limiters import PriorityCapacityLimiter
from headrace.pipeline.chain import compile_chain
from headrace.pipeline.pipeline import sort_policies
from headrace.testing import Answer, FakeEndpoint

Step = Callable[[Send, Call], Awaitable[Any]]


@attrs.frozen
class Around:
    """A policy made from a function."""

    name: str
    stage: Stage
    step: Step = attrs.field(eq=False)

    def wrap(self, send: Send) -> Send:
        async def around(call: Call) -> Any:
            return await self.step(send, call)

        return around


class Idle:
    """A policy that returns ``send`` itself."""

    name = "idle"
    stage = Stage.ANSWER

    def wrap(self, send: Send) -> Send:
        return send


def noting(name: str, stage: Stage, log: list[str]) -> Around:
    async def step(send: Send, call: Call) -> Reply:
        log.append(f"into {name}")
        try:
            return await send(call)
        finally:
            log.append(f"out of {name}")

    return Around(name, stage, step)


async def _pass(send: Send, call: Call) -> Reply:
    return await send(call)


async def _send(call: Call) -> Reply:
    raise NotImplementedError


def _compile(policies: Sequence[Policy]) -> Send:
    return compile_chain(policies, _send, PriorityCapacityLimiter(1), lambda: None)


def named(names: Iterable[str], stage: Stage = Stage.PACE) -> list[Around]:
    return [Around(name, stage, _pass) for name in names]


def test_policies_are_sorted_by_stage_and_name() -> None:
    policies = [*named("zb", Stage.OBSERVE), *named("ya", Stage.PACE), *named("x", Stage.PERSIST)]
    assert [policy.name for policy in sort_policies(policies)] == ["b", "z", "x", "a", "y"]
    assert sort_policies(policies) == sort_policies(reversed(policies))


def test_the_stages_have_the_documented_order() -> None:
    assert sorted(Stage) == [
        Stage.OBSERVE,
        Stage.ACCOUNT,
        Stage.ANSWER,
        Stage.PERSIST,
        Stage.PROTECT,
        Stage.PACE,
    ]


def test_two_policies_with_one_name_raise() -> None:
    with pytest.raises(PluginError, match="'retry'"):
        FakeEndpoint().client(named(["retry", "retry"]))


def test_a_policy_that_returns_send_adds_nothing_to_the_chain() -> None:
    seen = list[Send]()

    class Seeing(Idle):
        stage = Stage.PACE

        def wrap(self, send: Send) -> Send:
            seen.append(send)
            return send

    _compile([Seeing(), Seeing()])
    assert seen == [_send, _send]


@pytest.mark.anyio
async def test_wrap_attempt_is_between_persist_and_protect() -> None:
    seen: list[str] = []

    def say(what: str, send: Send, times: int = 1) -> Send:
        async def recorded(call: Call) -> Reply:
            seen.append(what)
            for _ in range(times - 1):
                await send(call)
            return await send(call)

        return recorded

    @attrs.frozen
    class Plain:
        name: str
        stage: Stage
        times: int = 1

        def wrap(self, send: Send) -> Send:
            return say(self.name, send, self.times)

    class WithAttempts(Plain):
        def wrap_attempt(self, send: Send) -> Send:
            return say(f"{self.name} of an attempt", send)

    policies = [
        Plain("pace", Stage.PACE),
        Plain("again", Stage.PERSIST, times=2),
        WithAttempts("account", Stage.ACCOUNT),
        WithAttempts("later", Stage.PERSIST),
        Plain("protect", Stage.PROTECT),
    ]
    async with FakeEndpoint().client(policies) as client:
        await client.chat("?")
    attempt = ["later", "account of an attempt", "later of an attempt", "protect", "pace"]
    assert seen == ["account", "again", *attempt, *attempt]


def test_an_invalid_wrap_attempt_raises_and_names_its_policy() -> None:
    class Broken:
        name = "broken"
        stage = Stage.ACCOUNT

        def wrap(self, send: Send) -> Send:
            return send

        def wrap_attempt(self, send: Send) -> Any:
            return None

    class Raising(Broken):
        def wrap_attempt(self, send: Send) -> Any:
            raise ValueError("no")

    with pytest.raises(PluginError, match="'broken': wrap_attempt returned None"):
        _compile([Broken()])
    with pytest.raises(PluginError, match="'broken': wrap_attempt raised ValueError: no"):
        _compile([Raising()])


def test_an_error_of_wrap_names_its_policy() -> None:
    class Raising(Idle):
        def wrap(self, send: Send) -> Send:
            raise ValueError("no such region")

    with pytest.raises(PluginError, match=r"'idle'.*no such region"):
        FakeEndpoint().client([Raising()])


def test_a_wrap_without_a_function_names_its_policy() -> None:
    class Returning(Idle):
        def wrap(self, send: Send) -> Send:
            return None  # type: ignore[return-value]

    with pytest.raises(PluginError, match=r"'idle'.*None"):
        FakeEndpoint().client([Returning()])


@pytest.mark.anyio
async def test_the_outermost_policy_gets_a_call_first_and_its_reply_last() -> None:
    log: list[str] = []
    policies = [noting("pace", Stage.PACE, log), noting("log", Stage.OBSERVE, log)]
    async with FakeEndpoint().client(policies) as client:
        await client.chat("Hallo")
        assert [policy.name for policy in client.policies] == ["log", "pace"]
    assert log == ["into log", "into pace", "out of pace", "out of log"]


@pytest.mark.anyio
async def test_a_policy_may_send_never_once_or_many_times() -> None:
    async def never(send: Send, call: Call) -> Reply:
        return cached

    async def thrice(send: Send, call: Call) -> Reply:
        await send(call)
        await send(call)
        return await send(call)

    endpoint = FakeEndpoint("one", "two", "three", "four")
    async with endpoint.client() as client:
        cached = await client.chat("Hallo")
    async with endpoint.client([Around("thrice", Stage.PERSIST, thrice)]) as client:
        reply = await client.chat("Hallo")
        assert (reply.text, reply.attempts) == ("four", 3)
    async with endpoint.client([Around("cache", Stage.ANSWER, never)]) as client:
        reply = await client.chat("Hallo")
        assert (reply.text, reply.attempts) == ("one", 0)
    assert len(endpoint.attempts) == 4


@pytest.mark.anyio
async def test_an_error_of_a_policy_names_it_and_releases_the_token() -> None:
    async def raising(send: Send, call: Call) -> Reply:
        raise ZeroDivisionError("division by zero")

    policies = [Around("outer", Stage.OBSERVE, _pass), Around("broken", Stage.ACCOUNT, raising)]
    async with FakeEndpoint().client([*policies, Around("inner", Stage.PACE, _pass)]) as client:
        with pytest.raises(PolicyError, match=r"policy 'broken' raised ZeroDivisionError") as caught:
            await client.chat("Hallo", id="7")
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert caught.value.request is not None
        assert caught.value.request.id == "7"
        assert client.in_flight == 0


@pytest.mark.anyio
async def test_an_error_after_the_reply_names_its_policy() -> None:
    async def raising(send: Send, call: Call) -> Reply:
        await send(call)
        raise KeyError("usage")

    policies = [Around("inner", Stage.PACE, _pass), Around("broken", Stage.ACCOUNT, raising)]
    async with FakeEndpoint().client(policies) as client:
        with pytest.raises(PolicyError, match=r"policy 'broken' raised KeyError"):
            await client.chat("Hallo")


@pytest.mark.anyio
async def test_an_error_of_the_transport_is_not_attributed_to_a_policy() -> None:
    policies = named(["innocent"])
    async with FakeEndpoint(ValueError("a bug")).client(policies) as client:
        with pytest.raises(PolicyError, match="the transport raised ValueError: a bug"):
            await client.chat("Hallo")


@pytest.mark.anyio
async def test_a_policy_that_returns_no_reply_is_named() -> None:
    async def nothing(send: Send, call: Call) -> None:
        await send(call)

    async with FakeEndpoint().client([Around("odd", Stage.PACE, nothing)]) as client:
        with pytest.raises(PolicyError, match=r"'odd'.*None.*not a Reply"):
            await client.chat("Hallo")
        async with client.map(["Hallo"]) as outcomes:
            assert [type(outcome.error) async for outcome in outcomes] == [PolicyError]


@pytest.mark.anyio
async def test_errors_of_headrace_pass_policies_unchanged() -> None:
    failure = ConnectError("refused")
    async with FakeEndpoint(failure).client(named("abc")) as client:
        with pytest.raises(ConnectError) as caught:
            await client.chat("Hallo", id="7")
    assert caught.value is failure
    assert failure.attempts == 1
    assert failure.request is not None


@pytest.mark.anyio
async def test_a_policy_that_hangs_holds_only_its_own_token() -> None:
    hanging = anyio.Event()

    async def hang(send: Send, call: Call) -> Reply:
        if call.request.id == "stuck":
            hanging.set()
            await anyio.sleep_forever()
        return await send(call)

    policies = [Around("hang", Stage.PROTECT, hang)]
    async with (
        FakeEndpoint().client(policies, max_in_flight=2) as client,
        anyio.create_task_group() as group,
    ):

        async def stuck() -> None:
            await client.chat("Hallo", id="stuck")

        group.start_soon(stuck)
        await hanging.wait()
        for _ in range(10):
            assert (await client.chat("Hallo")).text == "ok"
        assert client.in_flight == 1
        group.cancel_scope.cancel()
    assert client.in_flight == 0


@pytest.mark.trio
async def test_the_deadline_ends_a_policy_that_hangs(autojump_clock: Any) -> None:
    async def hang(send: Send, call: Call) -> Reply:
        await anyio.sleep_forever()
        raise AssertionError

    async with FakeEndpoint().client([Around("hang", Stage.PROTECT, hang)]) as client:
        with pytest.raises(CallError, match="deadline of 30 s"):
            await client.chat("Hallo", deadline=30)
        assert client.in_flight == 0


class Watching:
    """An observer that raises an error for one event."""

    def __init__(self, name: str, raise_at: str | None = None) -> None:
        self.name = name
        self.raise_at = raise_at
        self.seen: list[str] = []

    def notify(self, event: Event) -> None:
        self.seen.append(event.name)
        if event.name == self.raise_at:
            raise RuntimeError("disk full")


async def _telling(send: Send, call: Call) -> Reply:
    call.notify("before", delay=1.5)
    reply = await send(call)
    call.notify("after")
    return reply


@pytest.mark.anyio
async def test_an_observer_that_raises_is_logged_and_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sound, broken = Watching("sound"), Watching("broken", raise_at="before")
    policies = [Around("telling", Stage.PERSIST, _telling)]
    async with FakeEndpoint().client(policies, observers=[broken, sound]) as client:
        with caplog.at_level(logging.ERROR, "headrace"):
            assert (await client.chat("Hallo")).text == "ok"
        await client.chat("Hallo")
    assert broken.seen == ["before"]
    assert sound.seen == ["before", "after"] * 2
    assert [record.getMessage() for record in caplog.records] == [
        "observer 'broken' raised an error and gets no more events"
    ]


@pytest.mark.anyio
async def test_a_policy_with_notify_is_an_observer() -> None:
    class Both(Watching, Idle):
        name = "both"

    both = Both("both")
    async with FakeEndpoint().client([both, Around("telling", Stage.PERSIST, _telling)]) as client:
        await client.chat("Hallo")
    assert both.seen == ["before", "after"]


@pytest.mark.parametrize("nonsense", [object(), Watching, Idle()])
def test_an_invalid_observer_raises_when_the_client_is_made(nonsense: Any) -> None:
    with pytest.raises(PluginError, match="observers="):
        FakeEndpoint(Answer()).client(observers=[nonsense])
