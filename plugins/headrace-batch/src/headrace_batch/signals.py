"""How the tasks of a session learn that it must leave, finish or pause, and that a part has ended."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio

from headrace.plugins import task_group


class SessionSignals:
    """What the tasks of a session wait for.

    Attributes:
        stopping: Set if the session must leave.
        finishing: Set if batches are to be cancelled, and their rows sent as ordinary calls.
        paused: Whether the run is paused: no part is uploaded, and no batch is created.
    """

    def __init__(self) -> None:
        self.stopping: anyio.Event = anyio.Event()
        self.finishing: anyio.Event = anyio.Event()
        self.paused: bool = False
        self._resumed = anyio.Event()
        self._part_ended = anyio.Event()

    @property
    def is_ending(self) -> bool:
        """Whether no batch is created any more."""
        return self.stopping.is_set() or self.finishing.is_set()

    def resume(self) -> None:
        """End a pause."""
        self.paused = False
        resumed, self._resumed = self._resumed, anyio.Event()
        resumed.set()

    def note_part_ended(self) -> None:
        """Note that a part has ended, so there may be room for another one."""
        ended, self._part_ended = self._part_ended, anyio.Event()
        ended.set()

    async def wait_while_paused(self) -> None:
        """Wait until the run is not paused, or the session leaves or finishes."""
        while self.paused and not self.is_ending:
            await self.wait(math.inf, self._resumed, self.stopping, self.finishing)

    async def wait_for_part_end(self, seconds: float) -> None:
        """Wait until a part has ended, or the session leaves or finishes, for at most so many seconds."""
        await self.wait(seconds, self._part_ended, self.stopping, self.finishing)

    async def sleep(self, seconds: float) -> None:
        """Wait so many seconds, or until the session leaves or finishes."""
        await self.wait(seconds, self.stopping, self.finishing)

    async def wait(self, seconds: float, *events: anyio.Event) -> None:
        """Wait for one of these events, for at most so many seconds."""
        with anyio.move_on_after(seconds):
            async with self.until(*events):
                await anyio.sleep_forever()

    def until_ending(self) -> AbstractAsyncContextManager[None]:
        """Cancel the block when the session leaves or finishes."""
        return self.until(self.stopping, self.finishing)

    @asynccontextmanager
    async def until(self, *events: anyio.Event) -> AsyncIterator[None]:
        """Cancel the block when one of these events is set."""
        async with task_group() as group:
            for event in events:
                group.start_soon(_cancel_after, event, group.cancel_scope)
            yield
            group.cancel_scope.cancel()


async def _cancel_after(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
