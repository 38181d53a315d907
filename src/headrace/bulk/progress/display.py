"""The contract of a display, and the task that keeps one up to date."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol, TypeAlias

import anyio

from headrace._support.interrupts import uninterrupted
from headrace._support.task_groups import task_group

if TYPE_CHECKING:
    from headrace.bulk.control.snapshot import RunSnapshot

TakeSnapshot: TypeAlias = "Callable[[], RunSnapshot]"
"""Takes the snapshot of a run now."""


class Display(Protocol):
    """Shows the snapshots of a run while it goes on.

    Attributes:
        first: Seconds until it shows one for the first time.
        interval: Seconds between two times.
    """

    first: float
    interval: float

    def show(self, run: RunSnapshot) -> None:
        """Show the run as it is now. An exception ends the run."""

    def finish(self, run: RunSnapshot) -> None:
        """Show the run at its end, also if it was cancelled or failed."""


@asynccontextmanager
@uninterrupted
async def shown(display: Display, take_snapshot: TakeSnapshot) -> AsyncIterator[None]:
    """Show a run while the block runs, and at its end."""
    try:
        async with task_group() as group:
            group.start_soon(_refresh, display, take_snapshot)
            yield
            group.cancel_scope.cancel()
    finally:
        display.finish(take_snapshot())


async def _refresh(display: Display, take_snapshot: TakeSnapshot) -> None:
    await anyio.sleep(display.first)
    while True:
        display.show(take_snapshot())
        await anyio.sleep(display.interval)
