"""Lifespans for a client without an ``async with`` block, as SDKs use theirs.

headrace runs background tasks in the nursery of a block, so that none outlives it and no error is lost. The
client of an SDK is made, used and closed by separate calls, perhaps in different tasks, so there is no block.
Therefore this is the only file that starts a task outside a nursery. The task enters the lifespans, waits,
and leaves them, because trio and anyio require one task for all three. It ends when the client is closed, or
with the event loop. On asyncio no task is started if no policy has a lifespan.
"""

from __future__ import annotations

import contextvars
import signal
import warnings
from collections.abc import Sequence

import anyio

from headrace._support.clock import on_asyncio
from headrace.errors import ClientStateError
from headrace.pipeline.lifespans import TRANSPORT, Component, Lifespans

_running: set[object] = set()
"""References to asyncio's tasks, because the event loop does not protect them from the garbage collector."""


class DetachedLifespans:
    """Lifespans that are entered by `open` and left by `aclose`, in the event loop that creates the object.

    Emits a ResourceWarning if it is deleted without being closed.
    """

    def __init__(self, components: Sequence[Component]) -> None:
        self._lifespans = Lifespans(components, self._on_lost)
        self._needs_task = not on_asyncio() or any(
            hasattr(component.instance, "lifespan") for component in components if component.name != TRANSPORT
        )
        self._entered, self._closing, self._exited = anyio.Event(), anyio.Event(), anyio.Event()
        self._error: Exception | None = None
        self._scope = anyio.CancelScope()
        self._opened = self._closed = self._failed = False

    async def open(self) -> None:
        """Enter the lifespans, once. Each call raises an error of entering, or of a background task."""
        if not self._opened:
            self._opened = True
            if self._needs_task:
                self._start_task()
            else:
                await self._enter()
        await self._entered.wait()
        if self._failed:
            await self._exited.wait()
        self._raise_error()

    async def aclose(self) -> None:
        """Leave the lifespans. Raises an error of leaving."""
        self._closed = True
        self._closing.set()
        if not self._needs_task:
            if self._lifespans.entered:
                await self._lifespans.leave(None, None, None)
            return
        is_entering = not self._entered.is_set()
        if is_entering:
            self._scope.cancel()
        with anyio.CancelScope(shield=True):
            await self._exited.wait()
        if not is_entering:
            self._raise_error()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error.with_traceback(None)  # otherwise each request would extend the traceback

    async def _enter(self) -> None:
        try:
            await self._lifespans.enter()
        except Exception as error:
            self._error = error
        finally:
            self._entered.set()

    def _start_task(self) -> None:
        if on_asyncio():
            import asyncio

            # In a new context, because it does not belong to the first request.
            task = asyncio.get_running_loop().create_task(
                self._run(), name="headrace lifespans", context=contextvars.Context()
            )
            _running.add(task)
            task.add_done_callback(_running.discard)
            return
        import trio

        trio.lowlevel.spawn_system_task(self._run, name="headrace lifespans")

    async def _run(self) -> None:
        try:
            with self._scope:
                await self._hold_lifespans()
            if not self._entered.is_set():
                self._error = ClientStateError("this client was closed while it was opening")
        except Exception as error:  # the next request raises it, not the event loop
            self._error = error
        except BaseException as error:
            if on_asyncio() or not _is_interrupt(error):
                raise
            # Ctrl-C reached a task of a policy. trio would report an internal error here, so the signal is
            # sent again, for the main task.
            signal.raise_signal(signal.SIGINT)
        finally:
            self._entered.set()
            self._exited.set()

    async def _hold_lifespans(self) -> None:
        await self._lifespans.enter()
        try:
            self._entered.set()
            await self._closing.wait()
        except BaseException as error:
            self._failed = True
            await self._lifespans.leave(type(error), error, error.__traceback__)
            raise
        else:
            await self._lifespans.leave(None, None, None)

    def _on_lost(self, reason: str) -> None:
        self._error = ClientStateError(reason)

    def __del__(self) -> None:
        if self._opened and not self._closed:
            warnings.warn(
                "a client over headrace was never closed; await its aclose(), or use it with 'async with'",
                ResourceWarning,
                stacklevel=2,
            )


def _is_interrupt(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(KeyboardInterrupt) is not None
    return isinstance(error, KeyboardInterrupt)
