"""The policies' contract finds what breaks it, and passes what keeps it."""

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


class Idle:
    """Does nothing."""

    name = "idle"
    stage = Stage.PACE

    def wrap(self, send: Send) -> Send:
        return send


class Complete(Idle):
    """Has all the optional parts, a limiter of its own, and something that is bound to the event loop."""

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


class Bare(Idle):
    name = ""


class Loud(Idle):
    name = "Loud"


class Nowhere(Idle):
    stage: Any = 60


class Around(Idle):
    """Stands around a call with ``around``."""

    async def around(self, send: Send, call: Call) -> Reply:
        raise NotImplementedError

    def wrap(self, send: Send) -> Send:
        async def around(call: Call) -> Reply:
            return await self.around(send, call)

        return around


class Renaming(Around):
    async def around(self, send: Send, call: Call) -> Reply:
        try:
            return await send(call)
        except headrace.ConnectError as error:
            raise headrace.ProtocolError("something") from error


class Hiding(Around):
    async def around(self, send: Send, call: Call) -> Reply:
        try:
            return await send(call)
        except headrace.ConnectError:
            return Reply(200, headrace.Headers([]), b'{"choices": [{"message": {"content": ""}}]}')


class Swallowing(Around):
    async def around(self, send: Send, call: Call) -> Reply:
        try:
            return await send(call)
        except BaseException as error:
            if isinstance(error, Exception):
                raise
            raise headrace.ConnectError("cancelled, and taken for a failure") from error


class Counting(Around):
    """Has a bad memory for calls that were cancelled."""

    lost = 0

    async def around(self, send: Send, call: Call) -> Reply:
        if self.lost:
            raise headrace.CallError("no room")
        self.lost += 1
        reply = await send(call)
        self.lost -= 1
        return reply


class Losing(Around):
    """Loses a token of its own for each call that is cancelled."""

    def __init__(self) -> None:
        self.limiter = anyio.CapacityLimiter(3)

    async def around(self, send: Send, call: Call) -> Reply:
        await self.limiter.acquire_on_behalf_of(call)
        try:
            reply = await send(call)
        except headrace.CallError:
            self.limiter.release_on_behalf_of(call)
            raise
        self.limiter.release_on_behalf_of(call)
        return reply


class Alone(Around):
    """Bears one call at a time."""

    busy = False

    async def around(self, send: Send, call: Call) -> Reply:
        if self.busy:
            raise headrace.CallError("one at a time")
        self.busy = True
        try:
            return await send(call)
        finally:
            self.busy = False


class Barrier(Around):
    """Waits for a second call, and keeps its token meanwhile."""

    def __init__(self) -> None:
        self.waiting: list[anyio.Event] = []

    async def around(self, send: Send, call: Call) -> Reply:
        if b"Hallo 41" in call.content or b"Hallo 42" in call.content:
            if self.waiting:
                self.waiting.pop().set()
            else:
                self.waiting.append(anyio.Event())
                await self.waiting[0].wait()
        return await send(call)


class Once(Around):
    """Does not expect a call again."""

    async def around(self, send: Send, call: Call) -> Reply:
        if call.notes.get("once"):
            raise headrace.CallError("again?")
        call.notes["once"] = True
        return await send(call)


class Knowing(Idle):
    def notify(self, event: Event) -> None:
        {"retry": 1}[event.name]


class Whole(Around):
    """Bears no streams."""

    async def around(self, send: Send, call: Call) -> Reply:
        if call.streamed:
            raise headrace.CallError("no streams")
        return await send(call)


class Spawning(Around):
    """Starts tasks that outlive the client."""

    async def around(self, send: Send, call: Call) -> Reply:
        if on_asyncio():
            self.task = asyncio.get_running_loop().create_task(asyncio.sleep(1))
        else:
            trio.lowlevel.spawn_system_task(trio.sleep, 1)
        return await send(call)


class OnlyOnce(Idle):
    """Can be opened by one client only."""

    opened = False

    @asynccontextmanager
    async def lifespan(self, group: TaskGroupFactory) -> AsyncIterator[None]:
        assert not self.opened
        self.opened = True
        yield


class Keeping(Around):
    """Keeps something of the first event loop."""

    token: object = None

    async def around(self, send: Send, call: Call) -> Reply:
        token = anyio.lowlevel.current_token()
        self.token = self.token or token
        if self.token != token:
            raise headrace.CallError("bound to another event loop")
        return await send(call)


@pytest.mark.parametrize("make", [Idle, Complete])
async def test_policies_that_keep_the_contract_pass(make: Callable[[], headrace.Policy]) -> None:
    await check_policy_contract(make)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Bare, "needs a name"),
        (Loud, "not in lower case"),
        (Nowhere, "not a headrace.Stage"),
        (Renaming, "was replaced by another one"),
        (Hiding, "was not raised"),
        (Swallowing, "swallowed a cancellation"),
        (Counting, "no room"),
        (Losing, "take more than"),
        (Alone, "calls failed: .*one at a time"),
        (Barrier, "max_in_flight=1 take more than"),
        (Once, "another policy sends again"),
        (Knowing, "notify raised KeyError"),
        (Whole, "no streams"),
        (Spawning, "a task still runs"),
        (OnlyOnce, "lifespan"),
        (Keeping, "bound to another event loop"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
async def test_a_broken_contract_is_an_error_that_says_how(
    make: Callable[[], headrace.Policy], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.testing.contract._PATIENCE", 0.5)
    with pytest.raises((AssertionError, headrace.HeadraceError), match=said):
        await check_policy_contract(make)
