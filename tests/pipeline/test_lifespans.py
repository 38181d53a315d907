"""Lifespans of transports and policies, their background tasks and event loops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from typing import Any

import anyio
import attrs
import pytest
import trio

from headrace import Call, Client, ClientStateError, PluginError, PolicyError, Reply, Send, Stage
from headrace.policies import TaskGroupFactory
from headrace.testing import FakeEndpoint
from headrace.transports.memory import MemoryTransport

on_both = pytest.mark.anyio


@attrs.define(eq=False)
class Opening:
    """A policy that records in ``log`` when it is opened and closed, with or without a background task."""

    name: str
    log: list[str]
    stage: Stage = Stage.PACE
    fails: str = ""
    has_task: bool = False
    resets: int = 0

    def wrap(self, send: Send) -> Send:
        return send

    def reset(self) -> None:
        self.resets += 1

    @asynccontextmanager
    async def lifespan(self, group: TaskGroupFactory) -> AsyncIterator[None]:
        if self.has_task:
            (await group()).start_soon(self._work)
        self.log.append(f"open {self.name}")
        if self.fails == "entering":
            raise ValueError("no server there")
        try:
            yield
        finally:
            self.log.append(f"close {self.name}")
            if self.fails == "leaving":
                raise ValueError("could not write")

    async def _work(self) -> None:
        if self.fails == "working":
            await anyio.sleep(0.01)
            raise ValueError("lost its server")
        try:
            await anyio.sleep_forever()
        finally:
            self.log.append(f"end {self.name}")


class OpeningTransport(MemoryTransport):
    def __init__(self, log: list[str]) -> None:
        async def handle(call: Call) -> Reply:
            return await FakeEndpoint().handle(call)

        super().__init__(handle)
        self._log = log

    @asynccontextmanager
    async def lifespan(self, group: TaskGroupFactory) -> AsyncIterator[None]:
        self._log.append("open transport")
        try:
            yield
        finally:
            self._log.append("close transport")

    async def aclose(self) -> None:
        self._log.append("drop connections")


def client_with(log: list[str], *policies: Opening) -> Client:
    return Client(base_url="http://fake.test", model="m", policies=policies, transport=OpeningTransport(log))


@on_both
async def test_lifespans_are_entered_from_the_transport_outwards_and_exited_in_reverse() -> None:
    log: list[str] = []
    inner, outer = Opening("inner", log), Opening("outer", log, Stage.OBSERVE)
    async with client_with(log, outer, inner) as client:
        assert log == ["open transport", "open inner", "open outer"]
        await client.chat("?")
        log.clear()
    assert log == ["close outer", "close inner", "close transport", "drop connections"]


@on_both
async def test_entered_lifespans_are_exited_if_a_later_one_fails() -> None:
    log: list[str] = []
    client = client_with(
        log,
        Opening("b", log, Stage.OBSERVE, fails="entering"),
        Opening("a", log, has_task=True),
        Opening("c", log, Stage.OBSERVE),
    )
    with pytest.raises(PluginError, match="policy 'b': its lifespan raised ValueError: no server there"):
        await client.__aenter__()
    assert log == [
        *("open transport", "open a", "open c", "open b", "close c", "close a"),
        *(["end a"] if "end a" in log else []),
        *("close transport", "drop connections"),
    ]
    with pytest.raises(ClientStateError):
        await client.chat("?")


@on_both
@pytest.mark.parametrize("ended_by", ["end", "error", "cancellation"])
async def test_background_tasks_end_with_the_block(ended_by: str) -> None:
    log: list[str] = []
    with anyio.CancelScope() as scope, pytest.raises(KeyError) if ended_by == "error" else nullcontext():
        async with client_with(log, Opening("a", log, has_task=True)):
            await anyio.sleep(0.01)
            if ended_by == "error":
                raise KeyError("the block's own")
            if ended_by == "cancellation":
                scope.cancel()
                await anyio.sleep_forever()
    assert scope.cancelled_caught == (ended_by == "cancellation")
    assert sorted(log[-4:]) == ["close a", "close transport", "drop connections", "end a"]


@on_both
async def test_an_error_of_a_background_task_ends_the_client_and_names_its_policy() -> None:
    log: list[str] = []
    with pytest.raises(PolicyError, match=r"policy 'a'.*lost its server") as caught:  # noqa: PT012
        async with client_with(log, Opening("a", log, has_task=True, fails="working")):
            await anyio.sleep(60)
            pytest.fail("the block goes on")
    assert isinstance(caught.value.__cause__, ValueError)
    assert log[-1] == "drop connections"


@on_both
async def test_a_lifespan_that_fails_at_the_end_is_named_and_others_are_exited() -> None:
    log: list[str] = []
    with pytest.raises(PluginError, match="policy 'a': its lifespan raised ValueError: could not write"):
        async with client_with(log, Opening("a", log, Stage.OBSERVE, fails="leaving"), Opening("b", log)):
            pass
    assert log[-4:] == ["close a", "close b", "close transport", "drop connections"]


@on_both
async def test_a_shared_policy_is_entered_by_the_first_client_and_exited_by_the_last() -> None:
    log: list[str] = []
    shared = Opening("shared", log)
    first, second = client_with([], shared), client_with([], shared)
    await first.__aenter__()
    await second.__aenter__()
    await first.__aexit__(None, None, None)
    assert log == ["open shared"]
    await second.chat("?")
    await second.__aexit__(None, None, None)
    assert log == ["open shared", "close shared"]
    async with client_with([], shared):
        assert log[-1] == "open shared"
    assert shared.resets == 0


@on_both
async def test_a_shared_policy_with_tasks_ends_with_its_first_client_and_others_raise() -> None:
    log: list[str] = []
    shared = Opening("shared", log, has_task=True)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(client_with([], shared))
        async with client_with([], shared) as second:
            pass
        assert log == ["open shared"], "left in reverse order"
        second = await stack.enter_async_context(client_with([], shared))
        await first.chat("?")
        await second.chat("?")
        await second.__aexit__(None, None, None)
        stack.pop_all()
        await first.__aexit__(None, None, None)
    assert sorted(log) == ["close shared", "end shared", "open shared"]


@on_both
async def test_a_client_can_be_exited_once() -> None:
    client = client_with([])
    with pytest.raises(ClientStateError, match="not open"):
        await client.__aexit__(None, None, None)
    async with client:
        pass
    with pytest.raises(ClientStateError, match="exit it once"):
        await client.__aexit__(None, None, None)
    with pytest.raises(ClientStateError, match="opened before"):
        await client.__aenter__()


# Tasks and event loops.


def test_on_asyncio_a_client_without_tasks_can_be_closed_in_another_task() -> None:
    async def main() -> None:
        client = client_with([], Opening("a", []))
        await asyncio.create_task(client.__aenter__())
        await client.chat("?")
        await asyncio.create_task(client.__aexit__(None, None, None))

    asyncio.run(main())


def test_on_asyncio_a_client_with_tasks_must_be_closed_by_the_same_task() -> None:
    async def main() -> None:
        client = client_with([], Opening("a", [], has_task=True))
        opened, close = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            await client.__aenter__()
            opened.set()
            await close.wait()

        task = asyncio.create_task(hold())
        await opened.wait()
        with pytest.raises(ClientStateError, match="the task that entered it must leave it"):
            await client.__aexit__(None, None, None)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


@pytest.mark.parametrize("run", [trio.run, asyncio.run])
def test_a_policy_is_reset_for_a_new_event_loop(run: Any) -> None:
    policy = Opening("a", [])

    async def main() -> None:
        async with client_with([], policy):
            pass
        async with client_with([], policy):
            pass

    def go() -> None:
        run(main) if run is trio.run else run(main())

    go()
    assert policy.resets == 0
    go()
    assert policy.resets == 1


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_policy_cannot_be_used_in_two_running_event_loops(backend: str) -> None:
    policy, opened, refused = Opening("a", []), threading.Event(), threading.Event()
    errors = list[str]()

    async def hold() -> None:
        async with client_with([], policy):
            opened.set()
            await anyio.to_thread.run_sync(refused.wait)

    async def intrude() -> None:
        try:
            await client_with([], policy).__aenter__()
        except ClientStateError as error:
            errors.append(str(error))

    thread = threading.Thread(target=lambda: anyio.run(hold, backend=backend))
    thread.start()
    assert opened.wait(5)
    anyio.run(intrude, backend=backend)
    refused.set()
    thread.join(5)
    assert errors == ["policy 'a' is in use in another event loop; make one for each event loop and thread"]
    anyio.run(intrude, backend=backend)
    assert len(errors) == 1
