"""Programs that are interrupted.

Each makes calls until it is interrupted, prints "ready" once it is under load, and exits with 130 after
KeyboardInterrupt. On the signal USR1 it prints where its tasks are.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import signal
import sys
import threading
import warnings
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import httpx2

import headrace
from headrace import blocking
from headrace.bulk import run as run_in_bulk
from headrace.integrations.httpx2 import async_client
from headrace_adaptive import Adaptive
from headrace_breaker import Breaker
from headrace_hedge import Hedge
from headrace_pace import Pace
from headrace_retry import Retry

Main = Callable[[], Awaitable[None]]
KEY, MODEL = "sk-canary-7f3a", "m"


def policies() -> list[Any]:
    """Policies that keep state for several calls, or start tasks."""
    return [Adaptive(), Breaker(), Hedge(after=0.05), Pace(), Retry(base=0.01)]


def say_ready() -> None:
    print("ready", flush=True)


async def use_client(url: str) -> None:
    """Maps, chats and streams, all over one client."""
    client = headrace.Client(
        base_url=url, api_key=KEY, model=MODEL, policies=policies(), max_in_flight=50, timeout=5
    )
    async with client:
        await client.map(["Hello"] * 20).each(lambda outcome: None)
        say_ready()
        while True:
            async with client.map(["Hello"] * 100) as outcomes:
                async for _ in outcomes:
                    pass
            await client.map(["Hello"] * 50).each(lambda outcome: None)
            async with anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(_chat, client)
                    group.start_soon(_stream, client)


async def _chat(client: headrace.Client) -> None:
    with suppress(headrace.HeadraceError):
        await client.chat("Hello")


async def _stream(client: headrace.Client) -> None:
    with suppress(headrace.HeadraceError):
        async with client.stream("Hello") as stream:
            async for _ in stream:
                pass


async def use_drop_in(url: str) -> None:
    """Requests of an httpx2 client, whole and streamed."""
    async with async_client(policies=policies(), timeout=5) as client:
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}

        async def post() -> None:
            await client.post(f"{url}/chat/completions", json=body)

        async def stream() -> None:
            request = client.stream("POST", f"{url}/chat/completions", json=body | {"stream": True})
            async with request as response:
                async for _ in response.aiter_bytes():
                    pass

        async def quietly(do: Main) -> None:
            with suppress(httpx2.TransportError, headrace.HeadraceError):
                await do()

        await post()
        say_ready()
        while True:
            async with anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(quietly, post)
                    group.start_soon(quietly, stream)


async def make_bulk_run(url: str, folder: Path) -> None:
    """One run over a file of many rows."""
    rows, out = folder / "in.jsonl", folder / "out.jsonl"
    rows.write_text("".join(f'{{"id": "Q{number}", "text": "Hello"}}\n' for number in range(3_000)))

    async def watch() -> None:
        while not out.exists() or not out.stat().st_size:  # noqa: ASYNC110 - a file has no event
            await anyio.sleep(0.01)
        say_ready()

    client = headrace.Client(
        base_url=url, api_key=KEY, model=MODEL, policies=policies(), max_in_flight=50, timeout=5
    )
    async with client, anyio.create_task_group() as group:
        group.start_soon(watch)
        await run_in_bulk(client, rows, out=out, prompt="{text}")


def use_blocking(url: str) -> None:
    """Maps, chats and streams of a blocking client, and clients that open and close."""
    settings: dict[str, Any] = {"base_url": url, "api_key": KEY, "model": MODEL, "max_in_flight": 50}
    with blocking.Client(**settings, policies=policies(), timeout=5) as client:
        list(client.map(["Hello"] * 20))
        say_ready()
        while True:
            for _ in client.map(["Hello"] * 50):
                pass
            with suppress(headrace.HeadraceError):
                client.chat("Hello")
            with suppress(headrace.HeadraceError), client.stream("Hello") as stream:
                list(stream)
            for _ in blocking.map(["Hello"] * 9, **settings, policies=policies()):
                break


def what_is_left() -> list[str]:
    """Threads and sockets of this process; sockets only where /proc has them."""
    threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    descriptors = Path("/proc/self/fd")
    sockets = []
    for descriptor in descriptors.iterdir() if descriptors.exists() else ():
        with suppress(OSError):  # that of the folder itself
            sockets.append(str(descriptor.readlink()))
    return threads + [name for name in sockets if name.startswith("socket:")]


def protect_trio() -> None:
    """Work around a bug of trio: Ctrl-C within ``start_soon`` leaves a task that never starts.

    The nursery waits for it forever. A trio program that only starts tasks hangs like that in 2 of 80
    interrupts. headrace protects its own calls of ``start_soon``; here the program must do that.
    """
    import trio

    trio.lowlevel.enable_ki_protection(trio.Nursery.start_soon)


def run(backend: str, main: Main) -> None:
    """Run as a program of that event loop would."""
    if backend == "trio":
        import trio

        protect_trio()
        trio.run(main)
    elif backend == "uvloop":
        import uvloop

        uvloop.run(_coroutine(main))
    else:
        asyncio.run(_coroutine(main))


async def _coroutine(main: Main) -> None:
    await main()


def show_tasks_of_trio(*_: Any) -> None:
    """Where the tasks are, as a tree of nurseries."""
    import trio

    def show(task: trio.lowlevel.Task, depth: int) -> None:
        frames = [f"{frame.f_code.co_qualname}:{line}" for frame, line in task.iter_await_frames()]
        print("  " * depth, task.name, *(frames[-1:] or ["has not begun"]), file=sys.stderr)
        for nursery in task.child_nurseries:
            for child in nursery.child_tasks:
                show(child, depth + 1)

    root = trio.lowlevel.current_root_task()
    assert root is not None
    show(root, 0)


def perform(kind: str, backend: str, url: str, folder: Path) -> int:
    """Run the program of this kind until it is interrupted. Returns its exit code."""
    if backend == "trio":  # in the next turn of the loop
        signal.signal(signal.SIGUSR1, show_tasks_of_trio)
    else:
        faulthandler.register(signal.SIGUSR1)
    mains: dict[str, Main] = {
        "client": lambda: use_client(url),
        "drop-in": lambda: use_drop_in(url),
        "bulk": lambda: make_bulk_run(url, folder),
    }
    # KeyboardInterrupt may be raised in a task's first lines, which are anyio's, before those of its
    # function.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    interrupted = False
    before = what_is_left()
    try:
        if kind == "blocking":
            use_blocking(url)
        else:
            run(backend, mains[kind])
    except* KeyboardInterrupt:
        interrupted = True
    if kind == "blocking" and (left := what_is_left()) != before:
        print("left:", left, file=sys.stderr)
    gc.collect()  # whose warnings count
    return 130 if interrupted else 0
