"""The contract kit finds policies that break the contract, and passes others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import trio

import headrace
from headrace import Call, Event, Reply, Send, Stage
from headrace._support.clock import on_asyncio
from headrace.plugins import TaskGroupFactory
from headrace.testing import check_policy_contract

pytestmark = pytest.mark.anyio


class DoesNothing:
    """Does nothing."""

    name = "idle"
    stage = Stage.PACE

    def wrap(self, send: Send) -> Send:
        return send


class WithAllMethods(DoesNothing):
    """Has all optional methods, its own limiter, and state that is bound to the event loop."""

    def __init__(self) -> None:
        self.reset()
        self.ticks = 0

    def reset(self) -> None:
        self.limiter = headrace.PriorityCapacityLimiter(2)
        self.begun: float | None = None

    def wrap(self, send: Send) -> Send:
        async def limited(call: Call) -> Reply:
            if self.begun is None:
                self.begun = call.now()
            assert call.now() >= self.begun, "time went back"
            await call.acquire(self.limiter)
            try:
                return await send(call)
            finally:
                call.release(self.limiter)

        return limited

    def wrap_attempt(self, send: Send) -> Send:
        async def after_a_turn(call: Call) -> Reply:
            async with call.waiting():
                await anyio.lowlevel.checkpoint()
            return await send(call)

        return after_a_turn

    def notify(self, event: Event) -> None:
        self.ticks += 1

    @asynccontextmanager
    async def lifespan(self, group: TaskGroupFactory) -> AsyncIterator[None]:
        (await group()).start_soon(self._tick)
        yield

    async def _tick(self) -> None:
        while True:
            await anyio.sleep(0.001)
            self.ticks += 1


class WithoutName(DoesNothing):
    name = ""


class UpperCaseName(DoesNothing):
    name = "Loud"


class InvalidStage(DoesNothing):
    stage: Any = 60


class WrapCall(DoesNothing):
    """Wraps each call with ``wrap_call``."""

    async def wrap_call(self, send: Send, call: Call) -> Reply:
        raise NotImplementedError

    def wrap(self, send: Send) -> Send:
        async def wrap_call(call: Call) -> Reply:
            return await self.wrap_call(send, call)

        return wrap_call


class ReplacesErrors(WrapCall):
    async def wrap_call(self, send: Send, call: Call) -> Reply:
        try:
            return await send(call)
        except headrace.ConnectError as error:
            raise headrace.ProtocolError("something") from error


class HidesErrors(WrapCall):
    async def wrap_call(self, send: Send, call: Call) -> Reply:
        try:
            return await send(call)
        except headrace.ConnectError:
            return Reply(200, headrace.Headers([]), b'{"choices": [{"message": {"content": ""}}]}')


class SwallowsCancellation(WrapCall):
    async def wrap_call(self, send: Send, call: Call) -> Reply:
        try:
            return await send(call)
        except BaseException as error:
            if isinstance(error, Exception):
                raise
            raise headrace.ConnectError("a cancellation, counted as a failure") from error


class CountsCancelledCalls(WrapCall):
    """Never forgets calls that were cancelled."""

    lost = 0

    async def wrap_call(self, send: Send, call: Call) -> Reply:
        if self.lost:
            raise headrace.CallError("no room")
        self.lost += 1
        reply = await send(call)
        self.lost -= 1
        return reply


class LeaksTokens(WrapCall):
    """Does not release its own token when a call is cancelled."""

    def __init__(self) -> None:
        self.limiter = anyio.CapacityLimiter(3)

    async def wrap_call(self, send: Send, call: Call) -> Reply:
        await self.limiter.acquire_on_behalf_of(call)
        try:
            reply = await send(call)
        except headrace.CallError:
            self.limiter.release_on_behalf_of(call)
            raise
        self.limiter.release_on_behalf_of(call)
        return reply


class OneCallAtATime(WrapCall):
    """Allows only one call at a time."""

    busy = False

    async def wrap_call(self, send: Send, call: Call) -> Reply:
        if self.busy:
            raise headrace.CallError("one at a time")
        self.busy = True
        try:
            return await send(call)
        finally:
            self.busy = False


class WaitsForAnotherCall(WrapCall):
    """Waits for another call without releasing its token."""

    def __init__(self) -> None:
        self.waiting: list[anyio.Event] = []

    async def wrap_call(self, send: Send, call: Call) -> Reply:
        if b"Hallo 41" in call.content or b"Hallo 42" in call.content:
            if self.waiting:
                self.waiting.pop().set()
            else:
                self.waiting.append(anyio.Event())
                await self.waiting[0].wait()
        return await send(call)


class RejectsSecondSend(WrapCall):
    """Fails if a call is sent a second time."""

    async def wrap_call(self, send: Send, call: Call) -> Reply:
        if call.notes.get("once"):
            raise headrace.CallError("again?")
        call.notes["once"] = True
        return await send(call)


class KnowsOnlySomeEvents(DoesNothing):
    def notify(self, event: Event) -> None:
        {"retry": 1}[event.name]


class RejectsStreams(WrapCall):
    """Rejects streamed calls."""

    async def wrap_call(self, send: Send, call: Call) -> Reply:
        if call.streamed:
            raise headrace.CallError("no streams")
        return await send(call)


class LeavesTasks(WrapCall):
    """Starts tasks that outlive the client."""

    async def wrap_call(self, send: Send, call: Call) -> Reply:
        if on_asyncio():
            self.task = asyncio.get_running_loop().create_task(asyncio.sleep(1))
        else:
            trio.lowlevel.spawn_system_task(trio.sleep, 1)
        return await send(call)


class OpensOnce(DoesNothing):
    """Can be opened by one client only."""

    opened = False

    @asynccontextmanager
    async def lifespan(self, group: TaskGroupFactory) -> AsyncIterator[None]:
        assert not self.opened
        self.opened = True
        yield


class KeepsEventLoop(WrapCall):
    """Keeps an object of the first event loop."""

    token: object = None

    async def wrap_call(self, send: Send, call: Call) -> Reply:
        token = anyio.lowlevel.current_token()
        self.token = self.token or token
        if self.token != token:
            raise headrace.CallError("bound to another event loop")
        return await send(call)


@pytest.mark.parametrize("make", [DoesNothing, WithAllMethods])
async def test_policies_that_fulfil_the_contract_pass(make: Callable[[], headrace.Policy]) -> None:
    await check_policy_contract(make)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (WithoutName, "needs a name"),
        (UpperCaseName, "not in lower case"),
        (InvalidStage, "not a headrace.Stage"),
        (ReplacesErrors, "was replaced by another one"),
        (HidesErrors, "was not raised"),
        (SwallowsCancellation, "swallowed a cancellation"),
        (CountsCancelledCalls, "no room"),
        (LeaksTokens, "take more than"),
        (OneCallAtATime, "calls failed: .*one at a time"),
        (WaitsForAnotherCall, "max_in_flight=1 take more than"),
        (RejectsSecondSend, "another policy sends it again"),
        (KnowsOnlySomeEvents, "notify raised KeyError"),
        (RejectsStreams, "no streams"),
        (LeavesTasks, "a task still runs"),
        (OpensOnce, "lifespan"),
        (KeepsEventLoop, "bound to another event loop"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
async def test_broken_contract_error_says_how(
    make: Callable[[], headrace.Policy], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.testing.contract._PATIENCE", 0.5)
    with pytest.raises((AssertionError, headrace.HeadraceError), match=message):
        await check_policy_contract(make)
