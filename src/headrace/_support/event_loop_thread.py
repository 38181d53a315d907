"""An event loop in a thread of its own, for code without async.

KeyboardInterrupt may be raised at any moment in the thread that waits. Then what it waits for is cancelled,
even if it has not begun yet.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from contextvars import Context
from threading import Thread
from typing import Generic, TypeVar

import anyio
from anyio.from_thread import BlockingPortal

T = TypeVar("T")


@contextmanager
def event_loop_thread() -> Iterator[BlockingPortal]:
    """Run an event loop in a thread for the block; the end of the block cancels what still runs in it.

    Not anyio's `start_blocking_portal`: Ctrl-C while its thread starts leaves the thread running, and the end
    of its block waits for the remaining tasks.
    """
    started: Future[BlockingPortal] = Future()

    async def serve() -> None:
        async with BlockingPortal() as portal:
            started.set_result(portal)
            await portal.sleep_until_stopped()

    def run_loop() -> None:
        if not started.set_running_or_notify_cancel():
            return
        try:
            # In an empty context: a thread may inherit one in which another event loop runs.
            Context().run(anyio.run, serve)
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = Thread(target=run_loop, name="headrace-blocking", daemon=True)
    try:
        thread.start()
        yield started.result()
    finally:
        if not started.cancel():  # otherwise the thread has not begun, and will do nothing
            if started.exception() is None:
                portal = started.result()
                with suppress(RuntimeError):  # an error has ended the event loop already
                    portal.call(portal.stop, True)
            thread.join()


def call_in_loop(portal: BlockingPortal, function: Callable[[], Awaitable[T]]) -> T:
    """Wait for an async function in the event loop; an interrupt of the wait cancels it."""
    task = _Task(portal, function)
    with task.cancelled_by_interrupt():
        return task.start().result()


@contextmanager
def entered(portal: BlockingPortal, resource: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """Enter an async context manager in the event loop, and exit it there without the error of the block.

    An error like KeyboardInterrupt or GeneratorExit would end the event loop if it was raised there.
    """
    ready: Future[tuple[T, anyio.Event]] = Future()

    async def hold() -> None:
        try:
            async with resource as value:
                leaving = anyio.Event()
                ready.set_result((value, leaving))
                await leaving.wait()
        except BaseException as error:
            if isinstance(error, Exception) and not ready.done():
                ready.set_exception(error)
            ready.cancel()  # has an effect only if the task was cancelled before it was ready
            raise

    task = _Task(portal, hold)
    with task.cancelled_by_interrupt():
        held = task.start()
        value, leaving = ready.result()
    try:
        yield value
    finally:
        try:
            portal.call(leaving.set)
        except RuntimeError:  # the event loop has ended; or it runs here, in the garbage collector
            held.cancel()
        else:
            with suppress(CancelledError):
                held.result()


class _Task(Generic[T]):
    """An async function that another thread runs in the event loop and can cancel."""

    def __init__(self, portal: BlockingPortal, function: Callable[[], Awaitable[T]]) -> None:
        self._portal = portal
        self._function = function
        self._scope: anyio.CancelScope | None = None
        self._is_cancelled = False

    def start(self) -> Future[T]:
        return self._portal.start_task_soon(self._run)

    async def _run(self) -> T:
        self._scope = anyio.CancelScope()
        if self._is_cancelled:
            self._scope.cancel()
        with self._scope:
            return await self._function()
        raise anyio.get_cancelled_exc_class()

    @contextmanager
    def cancelled_by_interrupt(self) -> Iterator[None]:
        """Cancel the task if the block is interrupted, at whatever place."""
        try:
            yield
        except Exception:  # of the task itself, which has ended
            raise
        except BaseException:
            with suppress(RuntimeError):  # the event loop has ended
                self._portal.call(self._cancel)
            raise

    def _cancel(self) -> None:
        self._is_cancelled = True
        if self._scope is not None:
            self._scope.cancel()
