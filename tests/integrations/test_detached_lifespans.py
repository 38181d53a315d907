"""Policies with lifespans and background tasks, in a client without an ``async with`` block."""

from __future__ import annotations

import asyncio
import gc
import signal
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
import trio
from tests.test_no_loose_tasks import tasks

from headrace import Call, Client, ClientStateError, PluginError, PolicyError, Reply, Send, Stage
from headrace.integrations import httpx2
from headrace.plugins import TaskGroupFactory
from headrace.testing import FakeEndpoint

if TYPE_CHECKING:
    from tests.transports.conftest import Peer, Serve

Through = Callable[..., Any]
on_both = pytest.mark.anyio


class Watching:
    """A policy that watches something in a task; a request may make the task fail."""

    name, stage = "watching", Stage.PROTECT

    def __init__(self, opening: float = 0.0, error: Exception | None = None) -> None:
        self._opening, self._error = opening, error
        self.log: list[str] = []
        self.resets = 0
        self.fail: Callable[[BaseException], None] = lambda error: None

    def wrap(self, send: Send) -> Send:
        async def watched(call: Call) -> Reply:
            self.log.append("call")
            return await send(call)

        return watched

    def reset(self) -> None:
        self.resets += 1

    @asynccontextmanager
    async def lifespan(self, group: TaskGroupFactory) -> AsyncIterator[None]:
        self.log.append("open")
        (await group()).start_soon(self._watch)
        await anyio.sleep(self._opening)
        if self._error is not None:
            raise self._error
        try:
            yield
        finally:
            self.log.append("close")

    async def _watch(self) -> None:
        failure, failed = list[BaseException](), anyio.Event()

        def fail(error: BaseException) -> None:
            failure.append(error)
            failed.set()

        self.fail = fail
        await failed.wait()
        raise failure[0]


async def script(peer: Peer) -> None:
    await peer.answer_all()


@on_both
async def test_concurrent_first_requests_enter_a_lifespan_once(serve: Serve, through: Through) -> None:
    policy = Watching(opening=0.05)
    async with serve(script) as server:
        before = tasks()
        client = through(policies=[policy])
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(client.get, f"{server.url}/a")
        assert policy.log == ["open", *["call"] * 20]
        await client.aclose()
        assert policy.log[-1] == "close"
        assert tasks() - before == set()
        await client.aclose()
    assert policy.log.count("close") == 1


@on_both
async def test_the_first_request_may_be_cancelled(serve: Serve, through: Through) -> None:
    policy = Watching(opening=0.1)
    async with serve(script) as server, through(policies=[policy]) as client:
        with anyio.move_on_after(0.01) as scope:
            await client.get(f"{server.url}/a")
        assert scope.cancelled_caught
        assert (await client.get(f"{server.url}/b")).status_code == 200
    assert policy.log == ["open", "call", "close"]


@on_both
async def test_the_error_of_a_background_task_is_raised_by_the_next_request(
    serve: Serve, through: Through
) -> None:
    policy = Watching()
    async with serve(script) as server:
        client = through(policies=[policy])
        assert (await client.get(f"{server.url}/a")).status_code == 200
        policy.fail(ValueError("lost its server"))
        with anyio.fail_after(5):
            while "close" not in policy.log:
                await anyio.lowlevel.checkpoint()
        for _ in range(3):
            with pytest.raises(PolicyError, match=r"policy 'watching'.*lost its server") as caught:
                await client.get(f"{server.url}/b")
            depth = len(caught.traceback)
        with pytest.raises(PolicyError, match="policy 'watching'"):
            await client.get(f"{server.url}/c")
        assert len(caught.traceback) <= depth, "each request extends the traceback"
        with pytest.raises(PolicyError, match="policy 'watching'"):
            await client.aclose()
    assert policy.log == ["open", "call", "close"]


@on_both
async def test_an_error_on_opening_is_raised_by_all_requests(serve: Serve, through: Through) -> None:
    policy = Watching(opening=0.05, error=OSError("no server there"))
    async with serve(script) as server:
        client = through(policies=[policy])

        async def ask() -> None:
            with pytest.raises(PluginError, match="policy 'watching': its lifespan raised OSError"):
                await client.get(f"{server.url}/a")

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(ask)
        with pytest.raises(PluginError, match="policy 'watching'"):
            await client.aclose()


@on_both
async def test_closing_does_not_wait_for_an_opening_that_never_ends(serve: Serve, through: Through) -> None:
    policy = Watching(opening=3600)
    async with serve(script) as server:
        before = tasks()
        client = through(policies=[policy])

        async def ask() -> None:
            with pytest.raises(ClientStateError, match="closed while it was opening"):
                await client.get(f"{server.url}/a")

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            with anyio.fail_after(5):
                await client.aclose()
        assert tasks() - before == set()


@pytest.mark.parametrize("run", [trio.run, lambda main: asyncio.run(main())], ids=["trio", "asyncio"])
def test_a_lifespan_is_entered_again_in_a_second_event_loop_and_an_unclosed_client_warns(
    through: Through, run: Callable[..., Any]
) -> None:
    policy = Watching()
    clients = [through(policies=[policy])]

    async def main() -> None:
        with pytest.raises(Exception, match="refused"):
            await clients[0].get("http://127.0.0.1:9/v1/a")

    def run_again() -> None:
        run(main)
        gc.collect()

    def drop() -> None:
        clients.clear()
        gc.collect()

    run(main)
    assert policy.log == ["open", "call", "close"], "at the end of the loop"
    with pytest.warns(ResourceWarning, match="never closed"):
        run_again()
    assert policy.log == ["open", "call", "close"] * 2
    assert policy.resets == 1
    with pytest.warns(ResourceWarning, match="never closed"):
        drop()


@on_both
async def test_a_request_in_progress_when_a_task_fails_raises_the_librarys_exception(
    serve: Serve, through: Through, library: ModuleType
) -> None:
    policy, requested = Watching(), anyio.Event()

    async def silent_at_the_second(peer: Peer) -> None:
        await peer.request()
        await peer.answer()
        await peer.request()
        requested.set()
        await anyio.sleep_forever()

    async with serve(silent_at_the_second) as server:
        client = through(policies=[policy])
        await client.get(f"{server.url}/a")
        async with anyio.create_task_group() as group:

            async def ask() -> None:
                with pytest.raises(library.TransportError):
                    await client.get(f"{server.url}/b")

            group.start_soon(ask)
            await requested.wait()
            policy.fail(ValueError("lost its server"))
        with pytest.raises(PolicyError, match="policy 'watching'"):
            await client.aclose()


def test_a_loop_closed_with_running_tasks_leaves_no_lifespan_entered() -> None:
    policy = Watching()
    client = FakeEndpoint().client([policy])
    loop = asyncio.new_event_loop()
    held = [loop.create_task(client.__aenter__())]  # noqa: RUF100
    loop.run_until_complete(held[0])
    for task in asyncio.all_tasks(loop):  # as a loop that is closed by hand leaves them
        held.append(task)
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()

    async def main() -> None:
        async with FakeEndpoint().client([policy]) as other:
            await other.chat("?")

    asyncio.run(main())
    assert policy.log == ["open", "open", "call", "close"]
    with warnings.catch_warnings():  # the coroutines of the closed loop
        warnings.simplefilter("ignore")
        held.clear()
        del client
        gc.collect()


@pytest.mark.parametrize("uses", ["client", "drop-in"])
def test_ctrl_c_in_a_background_task_on_trio_is_a_keyboard_interrupt(uses: str) -> None:
    policy = Watching()

    async def main() -> None:
        if uses == "client":
            async with Client(base_url="http://127.0.0.1:9/v1", api_key="k", policies=[policy]):
                await anyio.wait_all_tasks_blocked()
                policy.fail(KeyboardInterrupt())
                await anyio.sleep_forever()
        async with httpx2.async_client(policies=[policy]) as client:
            with pytest.raises(Exception, match="refused"):
                await client.get("http://127.0.0.1:9/v1/a")
            policy.fail(KeyboardInterrupt())
            await anyio.sleep_forever()

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)) as caught:
        trio.run(main)
    assert "KeyboardInterrupt" in repr(caught.value)
    assert signal.getsignal(signal.SIGINT) is before
    assert policy.log[-1] == "close"
