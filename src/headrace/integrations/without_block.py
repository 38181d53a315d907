"""Lifespans for a client that is used without a block, as SDKs use theirs.

headrace runs background tasks in the nursery of a block, so that none outlives it, and an error of one is
seen. The client of an SDK is made, used and closed by calls, perhaps each in another task: there is no block.
So this is the one file in which a task is started outside of a nursery. It enters the lifespans, waits, and
leaves them, all in one task, as trio and anyio want it. It ends when the client is closed, and with its event
loop at the latest. On asyncio none is started where no policy has a lifespan.
"""

from __future__ import annotations

import contextvars
import warnings
from collections.abc import Sequence

import anyio

from headrace.clock import on_asyncio
from headrace.errors import ClientStateError
from headrace.lifespans import TRANSPORT, Lifespans, Part


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
        self._task: object = None
        self._begun = self._closed = False

    async def open(self) -> None:
        """Enter the lifespans, once, whoever asks; raises what that raised, or a background task has."""
        if not self._begun:
            self._begun = True
            if self._needs_task:
                self._start_task()
            else:
                await self._enter()
        await self._entered.wait()
        if self._error is not None:
            raise self._error

    async def aclose(self) -> None:
        """Leave the lifespans; raises what that raised."""
        self._closed = True
        self._closing.set()
        if not self._needs_task:
            await self._lifespans.leave(None, None, None)
            return
        with anyio.CancelScope(shield=True):
            await self._left.wait()
        if self._error is not None:
            raise self._error

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
            self._task = asyncio.get_running_loop().create_task(
                self._run(), name="headrace lifespans", context=contextvars.Context()
            )
            return
        import trio

        trio.lowlevel.spawn_system_task(self._run, name="headrace lifespans")

    async def _run(self) -> None:
        try:
            await self._lifespans.enter()
            try:
                self._entered.set()
                await self._closing.wait()
            except BaseException as error:
                await self._lifespans.leave(type(error), error, error.__traceback__)
                raise
            else:
                await self._lifespans.leave(None, None, None)
        except Exception as error:  # for whoever makes the next request, and not for the event loop
            self._error = error
        finally:
            self._entered.set()
            self._left.set()

    def _lose(self, why: str) -> None:
        self._error = ClientStateError(why)

    def __del__(self) -> None:
        if self._begun and not self._closed:
            warnings.warn(
                "a client over headrace was never closed; await its aclose(), or use it with 'async with'",
                ResourceWarning,
                stacklevel=2,
            )
