"""Counts checkpoints."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel


async def turns_during(do: Callable[[], Awaitable[object]]) -> int:
    """How many turns another task gets while ``do`` runs."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(count)
        await do()
        group.cancel_scope.cancel()
    return turns
