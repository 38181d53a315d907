"""No task outlives the block in which it was started."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.transports.conftest import Peer, Serve, serve

from headrace import Client, HeadraceError
from headrace._support.clock import on_asyncio
from headrace_adaptive import Adaptive
from headrace_breaker import Breaker
from headrace_cost import Cost
from headrace_hedge import Hedge
from headrace_pace import Pace
from headrace_repair import Repair
from headrace_retry import Retry
from headrace_route import Route

__all__ = ["serve"]

ROOT = Path(__file__).parents[1]
LOOSE = {"create_task", "ensure_future", "spawn_system_task", "call_later", "finalize", "start_thread_soon"}
"""Names of functions that start or schedule something for which no block waits."""

ALLOWED = {
    # The client of an SDK is used without a block; see the file.
    "src/headrace/integrations/detached_lifespans.py",
}


def loose_calls(source: str) -> Iterator[tuple[int, str]]:
    """Lines that call one of `LOOSE`, of any object or module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in LOOSE:
                yield node.lineno, name


@pytest.mark.parametrize(
    "distribution",
    [pytest.param(path, id=path.name) for path in sorted(ROOT.glob("plugins/*"))]
    + [pytest.param(ROOT, id="headrace")],
)
def test_no_task_is_started_outside_a_nursery(distribution: Path) -> None:
    found = {}
    for path in distribution.glob("src/**/*.py"):
        name = str(path.relative_to(ROOT))
        if name not in ALLOWED and (calls := list(loose_calls(path.read_text()))):
            found[name] = calls
    assert found == {}


def test_the_search_finds_loose_calls() -> None:
    source = """
asyncio.create_task(work())
loop.call_later(1, work)
weakref.finalize(thing, close)
trio.lowlevel.spawn_system_task(work)
asyncio.ensure_future(work())
group.start_soon(work)
"""
    assert [line for line, _ in loose_calls(source)] == [2, 3, 4, 5, 6]


def tasks() -> set[object]:
    """All tasks of the event loop, including trio's system tasks, except those of a `RawServer`."""
    servers = ("RawServer", "SocketListener")
    return {task for task in _all_tasks() if not any(name in repr(task) for name in servers)}


def _all_tasks() -> set[object]:
    if on_asyncio():
        return {task for task in asyncio.all_tasks() if not task.done()}
    import trio

    root = trio.lowlevel.current_root_task()
    assert root is not None
    found, new = set[object](), [root]
    while new:
        task = new.pop()
        found.add(task)
        new += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found


ANSWER = b'{"choices": [{"message": {"content": "ok"}, "finish_reason": "stop"}], "model": "m"}'
EVENTS = (
    b'data: {"choices": [{"index": 0, "delta": {"content": "ok"}, "finish_reason": "stop"}]}\n\n'
    b"data: [DONE]\n\n"
)


async def script(peer: Peer) -> None:
    """A peer that answers, streams, fails or stays silent, depending on the prompt."""
    while seen := await peer.request():
        if b"silence" in seen.body:
            await anyio.sleep_forever()
        elif b"failure" in seen.body:
            await peer.answer(b'{"error": {"message": "no"}}', status="500 Oh")
        elif b'"stream":true' in seen.body:
            await peer.answer(EVENTS, "Content-Type: text/event-stream")
        else:
            await peer.answer(ANSWER)


def standard() -> list[Any]:
    policies = [Adaptive(), Breaker(), Cost(), Hedge(after=0.02), Pace(), Repair(), Retry(base=0.001)]
    return [*policies, Route()]


async def chat(client: Client) -> None:
    assert (await client.chat("?")).text == "ok"


async def stream(client: Client) -> None:
    async with client.stream("?") as pieces:
        assert [piece.text async for piece in pieces]


async def stream_that_is_left_early(client: Client) -> None:
    async with client.stream("?"):
        pass


async def map_all(client: Client) -> None:
    async with client.map(["?"] * 20 + ["failure"]) as outcomes:
        assert len([outcome async for outcome in outcomes]) == 21


async def map_each(client: Client) -> None:
    await client.map(["?"] * 20).each(lambda outcome: None)


async def map_that_is_left_early(client: Client) -> None:
    async with client.map(["?"] * 20 + ["silence"] * 20) as outcomes:
        async for _ in outcomes:
            break


async def error(client: Client) -> None:
    with pytest.raises(HeadraceError):
        await client.chat("failure")


async def timeout(client: Client) -> None:
    with suppress(HeadraceError):
        await client.chat("silence", timeout=0.05)


async def cancellation(client: Client) -> None:
    with anyio.move_on_after(0.05):
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(client.chat, "silence")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "use",
    [
        *(chat, stream, stream_that_is_left_early, map_all, map_each, map_that_is_left_early),
        *(error, timeout, cancellation),
    ],
    ids=lambda use: use.__name__,
)
async def test_no_task_is_left_after_a_clients_block(serve: Serve, use: Callable[[Client], Any]) -> None:
    async with serve(script) as server:
        before = tasks()
        async with Client(
            base_url=server.url, api_key="k", model="m", policies=standard(), max_in_flight=10
        ) as client:
            await use(client)
            assert client.in_flight == 0
        assert tasks() - before == set()


@pytest.mark.anyio
async def test_a_task_that_is_left_is_found() -> None:
    before = tasks()
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep_forever)
        assert len(tasks() - before) == 1
        group.cancel_scope.cancel()
    assert tasks() - before == set()
