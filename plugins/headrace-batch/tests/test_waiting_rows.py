"""Rows that wait in a file, and the memory that they do not take."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

import headrace
from batch_runs import lines_of, rows, run
from headrace import Request
from headrace.bulk import WorkItem
from headrace_batch import BatchEngine
from headrace_batch.part_file import custom_id_of
from headrace_batch.row_file import RowFile
from headrace_batch.waiting_rows import RowsById, WaitingRow, WaitingRows
from scripted_batches import ScriptedBatches

LARGE = st.integers(0, 2**63)
IDS = st.text(st.characters(), min_size=1, max_size=200)
SMALL = st.integers(0, 2**32 - 1)
TAGS = st.dictionaries(st.text(max_size=60), st.text(max_size=60), max_size=2)
ROWS = st.tuples(st.integers(1, 3), LARGE, LARGE, SMALL, st.integers(0, 99), LARGE, LARGE, SMALL, TAGS)


def loader(part: int, line: int, step: int, tags: Mapping[str, str]) -> Callable[[str], Request]:
    return lambda id: Request({"from": [part, line, step, id]}, tags=tags)


def members(row: WaitingRow) -> tuple[Any, ...]:
    item, line = row
    position = item.index, item.id, item.number, item.digest, item.step, item.line, line, item.call
    assert item.tags == item.request.tags
    return *position, dict(item.tags), item.request.body


@settings(max_examples=30, deadline=None)
@given(ids=st.lists(IDS, unique=True, max_size=20), data=st.data())
def test_rows_are_read_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, ids: list[str], data: st.DataObject
) -> None:
    with closing(RowFile(tmp_path_factory.getbasetemp())) as file:
        waiting = WaitingRows(file, loader)
        added: dict[int, list[tuple[Any, ...]]] = {1: [], 2: [], 3: []}
        for id in ids:
            part, index, number, digest, step, in_input, line, call, tags = data.draw(ROWS)
            item = WorkItem(index, id, Request({}), number, digest, step, in_input, call, tags)
            waiting.add(part, item, line)
            position = index, id, number, digest, step, in_input, line, call
            added[part].append((*position, tags, {"from": [part, line, step, id]}))
        for part, expected in added.items():
            chain = waiting.take(part)
            assert list(map(members, chain)) == expected[::-1]
            by_id, (taken, rest) = RowsById(chain), (expected[::2], expected[1::2])
            for each in taken:
                row = by_id.take(custom_id_of(each[1], each[7]))
                assert row is not None
                assert members(row) == each
                assert by_id.take(custom_id_of(each[1], each[7])) is None
                assert custom_id_of(each[1], each[7]) in by_id
            assert sorted(map(members, by_id.take_rest()), key=str) == sorted(rest, key=str)
            assert by_id.take("another") is None
            assert "another" not in by_id
            assert not waiting.take(part)


@pytest.mark.trio
@pytest.mark.usefixtures("without_threads")
@pytest.mark.parametrize("stragglers", ["batch", "sync"])
@pytest.mark.parametrize("detach", [False, True])
async def test_rows_at_the_endpoint_are_not_in_memory(
    autojump_clock: trio.testing.MockClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stragglers: Any,
    detach: bool,
) -> None:
    in_memory, most, init = weakref.WeakSet[WorkItem](), 0, WorkItem.__init__

    def count(item: WorkItem, *arguments: Any, **options: Any) -> None:
        nonlocal most
        init(item, *arguments, **options)
        in_memory.add(item)
        most = max(most, len(in_memory))

    monkeypatch.setattr(WorkItem, "__init__", count)
    endpoint, out, number = ScriptedBatches(failures=0.5, seed=5), tmp_path / "out.jsonl", 600
    if detach:
        await run(endpoint, out, rows(number), BatchEngine(max_requests=200, detach=True))
    engine = BatchEngine(max_requests=200, stragglers=stragglers)
    async with headrace.Client(
        endpoints=[endpoint.form.endpoint], model="m", policies=[], transport=endpoint, max_in_flight=10
    ) as client:
        result = await headrace.run(
            client, rows(number), out=out, prompt="{name}", id_column="id", engine=engine
        )
    assert (result.succeeded, len(lines_of(out))) == (number, number)
    assert set(endpoint.billed.values()) == {1}
    assert 64 <= most <= 100, "results are handled 64 at a time"
