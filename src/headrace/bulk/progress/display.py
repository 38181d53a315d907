"""The contract of a display, and the task that keeps one up to date."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import anyio

from headrace._support.interrupts import uninterrupted
from headrace._support.task_groups import task_group
from headrace.bulk.progress.run_state import RunState


class Display(Protocol):
    """Shows the state of a run while it goes on.

    Attributes:
        first: Seconds until it shows the state for the first time.
        interval: Seconds between two times.
    """

    first: float
    interval: float

    def show(self, state: RunState) -> None:
        """Show the state of now. An exception ends the run."""

    def finish(self, state: RunState) -> None:
        """Show the state at the end of the run, also if the run was cancelled or failed."""


@asynccontextmanager
@uninterrupted
async def shown(display: Display, state: RunState) -> AsyncIterator[None]:
    """Show the state of a run while the block runs, and at its end."""
    try:
        async with task_group() as group:
            group.start_soon(_refresh, display, state)
            yield
            group.cancel_scope.cancel()
    finally:
        display.finish(state)


async def _refresh(display: Display, state: RunState) -> None:
    await anyio.sleep(display.first)
    while True:
        display.show(state)
        await anyio.sleep(display.interval)
