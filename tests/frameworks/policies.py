"""A policy with a background task, like those of plugins."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from headrace import Call, Reply, Send, Stage
from headrace.plugins import TaskGroupFactory


class Ticking:
    """Has a background task; a call waits for its next tick."""

    name, stage = "ticking", Stage.PROTECT

    def __init__(self) -> None:
        self.log: list[str] = []
        self._tick = anyio.Event()

    def wrap(self, send: Send) -> Send:
        async def at_tick(call: Call) -> Reply:
            await self._tick.wait()
            return await send(call)

        return at_tick

    @asynccontextmanager
    async def lifespan(self, group: TaskGroupFactory) -> AsyncIterator[None]:
        (await group()).start_soon(self._run)
        self.log.append("open")
        yield
        self.log.append("close")

    async def _run(self) -> None:
        while True:
            await anyio.sleep(0.001)
            self._tick.set()
            self._tick = anyio.Event()
