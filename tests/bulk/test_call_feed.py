"""An engine whose calls take hours: it waits for further calls, and is told when none comes for now."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

import headrace
from headrace.bulk import EngineSetup, ResultHandler, WorkItem
from headrace.testing import FakeEndpoint

pytestmark = pytest.mark.anyio


class Rounds:
    """An engine that makes the calls it has when no further one comes; each such round is noted."""

    name = "rounds"
    options: Sequence[Any] = ()

    def __init__(self) -> None:
        self.rounds: list[list[tuple[str, int]]] = []
        self.passes = 0
        self.in_flight = 0
        self._drawn: list[WorkItem] = []

    @asynccontextmanager
    async def open_executor(self, setup: EngineSetup, options: Mapping[str, Any]) -> AsyncIterator[Any]:
        self._setup = setup
        yield self

    async def work(self, items: Any, handle: ResultHandler) -> None:
        self.passes += 1
        changed = anyio.Event()

        def note() -> None:
            changed.set()

        async def call_when_waiting() -> None:
            nonlocal changed
            while True:
                await changed.wait()
                changed = anyio.Event()
                if items.is_waiting and self._drawn:
                    await self._call(handle)

        items.when_waiting = note
        async with anyio.create_task_group() as group:
            group.start_soon(call_when_waiting)
            async for item in items:
                self._drawn.append(item)
            group.cancel_scope.cancel()

    async def _call(self, handle: ResultHandler) -> None:
        drawn, self._drawn = self._drawn, []
        self.rounds.append(sorted((item.id, item.call) for item in drawn))
        await self._setup.call(drawn, handle)


def rows(number: int) -> list[dict[str, Any]]:
    return [{"id": f"r{each}", "number": each} for each in range(number)]


async def run(engine: Rounds, tmp_path: Path, number: int, **arguments: Any) -> Any:
    async with FakeEndpoint(otherwise="yes").client(model="m", policies=[]) as client:
        return await headrace.run(
            client, rows(number), out=tmp_path / "out.jsonl", id_column="id", engine=engine, **arguments
        )


async def test_each_round_has_the_calls_that_follow_from_the_one_before(tmp_path: Path) -> None:
    engine = Rounds()
    steps = [
        headrace.Step("one", "{number}", choices=["yes", "no"]),
        headrace.Step("two", "{one}", when="number < 2", choices=["maybe", "yes"]),
    ]
    result = await run(engine, tmp_path, 3, steps=steps)
    assert (result.succeeded, engine.passes) == (3, 1)
    assert engine.rounds == [[("r0", 1), ("r1", 1), ("r2", 1)], [("r0", 2), ("r1", 2)]]


async def test_samples_have_their_numbers(tmp_path: Path) -> None:
    engine = Rounds()
    result = await run(engine, tmp_path, 2, prompt="{number}", samples=2)
    assert result.succeeded == 2
    assert engine.rounds == [[("r0", 1), ("r1", 1)], [("r0", 2), ("r1", 2)]]


async def test_many_rows_without_a_call_end_no_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.bulk.call_feed._MOST_WITHOUT_CALL", 5)
    engine = Rounds()
    step = headrace.Step("one", "{number}", when="number == 0 or number == 49")
    result = await run(engine, tmp_path, 50, steps=[step])
    assert (result.succeeded, engine.passes) == (50, 1)
    assert engine.rounds == [[("r0", 1), ("r49", 1)]]
