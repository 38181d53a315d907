"""An event loop in a thread: what is left after interrupts and errors at awkward moments."""

from __future__ import annotations

import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import anyio
import pytest
from anyio.from_thread import BlockingPortal

from headrace._support.event_loop_thread import call_in_loop, entered, event_loop_thread

MAIN = threading.main_thread()


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name == "headrace-blocking":
            thread.join(10)
            assert not thread.is_alive()


def interrupt() -> None:
    """Press Ctrl-C: the main thread gets the signal."""
    assert MAIN.ident is not None
    signal.pthread_kill(MAIN.ident, signal.SIGINT)


def test_an_interrupt_while_the_thread_starts_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    run = anyio.run

    def interrupted_run(function: Callable[..., Any]) -> None:
        interrupt()
        run(function)

    monkeypatch.setattr(anyio, "run", interrupted_run)
    with pytest.raises(KeyboardInterrupt), event_loop_thread():
        threading.Event().wait(10)


def test_an_interrupt_before_the_thread_runs_prevents_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[object] = []
    start = threading.Thread.start

    def interrupted_start(thread: threading.Thread) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(anyio, "run", runs.append)
    monkeypatch.setattr(threading.Thread, "start", interrupted_start)
    with pytest.raises(KeyboardInterrupt), event_loop_thread():
        raise AssertionError
    monkeypatch.setattr(threading.Thread, "start", start)
    assert runs == []


def test_an_event_loop_that_cannot_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_descriptor(function: Callable[..., Any]) -> None:
        raise OSError("Too many open files")

    monkeypatch.setattr(anyio, "run", no_descriptor)
    with pytest.raises(OSError, match="Too many open files"), event_loop_thread():
        raise AssertionError


@pytest.mark.parametrize("begun", [False, True])
def test_an_interrupt_while_a_task_starts_cancels_it(begun: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    started, ended = threading.Event(), threading.Event()
    results: list[str] = []

    async def work() -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            results.append("cancelled")
            ended.set()

    start_task_soon = BlockingPortal.start_task_soon

    def interrupted(portal: BlockingPortal, function: Any, *args: Any, **keywords: Any) -> Any:
        future: Any = start_task_soon(portal, function, *args, **keywords)
        if function.__name__ == "_run":
            if begun:
                assert started.wait(10)
            raise KeyboardInterrupt
        return future

    with event_loop_thread() as portal:
        monkeypatch.setattr(BlockingPortal, "start_task_soon", interrupted)
        with pytest.raises(KeyboardInterrupt):
            call_in_loop(portal, work)
        monkeypatch.undo()
        portal.call(anyio.lowlevel.checkpoint)
        if started.is_set():
            assert ended.wait(10)
    assert results == ["cancelled"] * started.is_set()
    assert started.is_set() or not begun


def test_the_end_of_the_block_cancels_what_still_runs() -> None:
    results: list[str] = []

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            results.append("cancelled")

    with event_loop_thread() as portal:
        portal.start_task_soon(work)
    assert results == ["cancelled"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, ValueError])
def test_an_error_of_the_block_does_not_end_the_event_loop(error: type[BaseException]) -> None:
    seen: list[object] = []

    @asynccontextmanager
    async def resource() -> AsyncIterator[int]:
        try:
            yield 5
        except BaseException as raised:
            seen.append(raised)
            raise
        finally:
            seen.append("left")

    with event_loop_thread() as portal:
        with pytest.raises(error, match="of the block: 5"), entered(portal, resource()) as value:
            raise error(f"of the block: {value}")
        assert seen == ["left"]
        assert portal.call(anyio.current_time) > 0


def test_errors_of_entering_and_leaving_are_raised() -> None:
    @asynccontextmanager
    async def failing(place: str) -> AsyncIterator[None]:
        if place == "entering":
            raise ValueError(place)
        yield
        raise ValueError(place)

    with event_loop_thread() as portal:
        for place in ("entering", "leaving"):
            with pytest.raises(ValueError, match=place), entered(portal, failing(place)):
                pass


def test_a_block_that_ends_after_its_event_loop_does_not_wait() -> None:
    with event_loop_thread() as portal:
        block = entered(portal, nullcontext())
        block.__enter__()
    block.__exit__(None, None, None)
