"""Runs whose control socket is served, over an endpoint in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

import headrace
from headrace.bulk import Run
from headrace.calls import Call
from headrace.replies import Reply
from headrace.testing import FakeEndpoint

PRICES = {"fake-model": {"input": 1, "output": 1}}


class HeldEndpoint(FakeEndpoint):
    """A `FakeEndpoint` whose answers wait until `release`."""

    def __init__(self) -> None:
        super().__init__()
        self._released = anyio.Event()

    def release(self) -> None:
        self._released.set()

    async def handle(self, call: Call) -> Reply:
        await self._released.wait()
        return await super().handle(call)


@asynccontextmanager
async def held_run(out: Path, endpoint: HeldEndpoint, rows: int = 5) -> AsyncIterator[Run]:
    """A run over some rows that goes on in the block, with the policies and plugins that are installed."""
    items = [{"id": f"r{number}", "name": "x"} for number in range(rows)]
    async with (
        endpoint.client(None, max_in_flight=2, cost={"prices": PRICES}) as client,
        headrace.run(client, items, out=out, prompt="{name}") as going,
    ):
        await until(lambda: going.snapshot().in_flight == 2)
        yield going


async def until(condition: Callable[[], object]) -> None:
    """Give other tasks turns until a condition holds."""
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - tests ask about things that have no event
            await anyio.sleep(0.001)
