"""Worker processes in memory: they answer on the clock of the event loop."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import attrs
import pytest

from headrace.bulk.item_result import item_result
from headrace.bulk.worker_protocol import WorkerItem, WorkerOrder, WorkerReport, WorkerSetup
from headrace.calls import Outcome
from headrace.replies import Headers, Reply
from headrace.testing import Answer


@attrs.define
class MemoryWorkers:
    """Replaces the worker processes of a `ProcessExecutor`.

    Attributes:
        delay: Seconds until the answer of an item.
        received: The ids of the items that workers got, each with the time.
    """

    delay: float
    received: list[tuple[float, str]] = attrs.field(factory=list)

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let all process executors of a test have these workers."""
        monkeypatch.setattr("headrace.bulk.process_executor.worker_process", self._start)

    @asynccontextmanager
    async def _start(self, environment: Any) -> AsyncIterator[_Frames]:
        yield _Frames(self)


class _Frames:
    def __init__(self, workers: MemoryWorkers) -> None:
        self._workers = workers
        self._items: deque[tuple[float, WorkerItem]] = deque()
        self._added = anyio.Event()

    async def send(self, frame: list[WorkerItem] | WorkerOrder | WorkerSetup) -> None:
        await anyio.lowlevel.checkpoint()
        if isinstance(frame, list):
            now = anyio.current_time()
            self._items.extend((now + self._workers.delay, item) for item in frame)
            self._workers.received += [(now, item.id) for item in frame]
            self._added.set()

    async def receive(self) -> WorkerReport:
        while not self._items:
            self._added = anyio.Event()
            await self._added.wait()
        time, item = self._items[0]
        await anyio.sleep_until(time)
        self._items.popleft()
        reply = Reply(200, Headers([]), Answer().content("m"))
        outcome = Outcome(item.index, None, reply, None, 1, self._workers.delay, item)
        result = item_result(item.index, item.id, outcome, (), digest=item.digest)
        return WorkerReport([result], in_flight=len(self._items))
