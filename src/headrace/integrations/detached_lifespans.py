"""Lifespans for a client that is used without a block, as SDKs use theirs.

headrace runs background tasks in the nursery of a block, so that none outlives it, and an error of one is
seen. The client of an SDK is made, used and closed by calls, perhaps each in another task: there is no block.
So this is the one file in which a task is started outside of a nursery. It enters the lifespans, waits, and
leaves them, all in one task, as trio and anyio want it. It ends when the client is closed, and with its event
loop at the latest. On asyncio none is started where no policy has a lifespan.
"""

from __future__ import annotations

import contextvars
import signal
import warnings
from collections.abc import Sequence

import anyio

from headrace._support.clock import on_asyncio
from headrace.errors import ClientStateError
from headrace.pipeline.lifespans import TRANSPORT, Lifespans, Part

_running: set[object] = set()
"""asyncio's tasks, which the event loop itself does not keep from the garbage collector."""


class LifespansWithoutBlock:
    """Lifespans that are entered and left by calls; of the event loop that runs when it is made.

    Warns (ResourceWarning) when it is deleted and was never closed.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self._lifespans = Lifespans(parts, self._lose)
        self._needs_task = not on_asyncio() or any(
            hasattr(part.it, "lifespan") for part in parts if part.name != TRANSPORT
        )
        self._entered, self._closing, self._left = anyio.Event(), anyio.Event(), anyio.Event()
        self._error: Exception | None = None
        self._whole = anyio.CancelScope()
        self._begun = self._closed = self._fails = False

    async def open(self) -> None:
        """Enter the lifespans, once, whoever asks; raises what that raised, or a background task has."""
        if not self._begun:
            self._begun = True
            if self._needs_task:
                self._start_task()
            else:
                await self._enter()
        await self._entered.wait()
        if self._fails:
            await self._left.wait()
        self._raise_error()

    async def aclose(self) -> None:
        """Leave the lifespans; raises what that raised."""
        self._closed = True
        self._closing.set()
        if not self._needs_task:
            if self._lifespans.entered:
                await self._lifespans.leave(None, None, None)
            return
        is_entering = not self._entered.is_set()
        if is_entering:
            self._whole.cancel()
        with anyio.CancelScope(shield=True):
            await self._left.wait()
        if not is_entering:
            self._raise_error()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error.with_traceback(None)  # else each request would add its own

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

            # In a context of its own: it is not part of the request that happens to be the first.
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
            with self._whole:
                await self._stay_entered()
            if not self._entered.is_set():
                self._error = ClientStateError("this client was closed while it was opened")
        except Exception as error:  # for whoever makes the next request, and not for the event loop
            self._error = error
        except BaseException as error:
            if on_asyncio() or not _is_interrupt(error):
                raise
            # A task of a policy's got it. trio would take it for an error of its own here, so it is sent on
            # to the main task.
            signal.raise_signal(signal.SIGINT)
        finally:
            self._entered.set()
            self._left.set()

    async def _stay_entered(self) -> None:
        await self._lifespans.enter()
        try:
            self._entered.set()
            await self._closing.wait()
        except BaseException as error:
            self._fails = True
            await self._lifespans.leave(type(error), error, error.__traceback__)
            raise
        else:
            await self._lifespans.leave(None, None, None)

    def _lose(self, why: str) -> None:
        self._error = ClientStateError(why)

    def __del__(self) -> None:
        if self._begun and not self._closed:
            warnings.warn(
                "a client over headrace was never closed; await its aclose(), or use it with 'async with'",
                ResourceWarning,
                stacklevel=2,
            )


def _is_interrupt(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(KeyboardInterrupt) is not None
    return isinstance(error, KeyboardInterrupt)
