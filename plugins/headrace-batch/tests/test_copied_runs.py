"""A run that is continued from a copy of its files, which may be older than its batches."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from batch_runs import errors_of, lines_of, rows, run
from headrace import Reply
from headrace_batch import BatchEngine
from scripted_batches import BATCH_TIME, ScriptedBatches

pytestmark = [pytest.mark.trio, pytest.mark.usefixtures("without_threads")]

ONCE = {f"r{number}": 1 for number in range(8)}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The output of a run in a folder of its own."""
    (tmp_path / "first").mkdir()
    return tmp_path / "first" / "out.jsonl"


def copied(out: Path) -> Path:
    """A copy of an output and of all that belongs to it."""
    shutil.copytree(out.parent, out.parent.parent / "copy")
    return out.parent.parent / "copy" / out.name


async def test_an_older_copy_finds_the_batches_that_were_made_after_it(
    autojump_clock: trio.testing.MockClock, out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "headrace")
    endpoint, engine = ScriptedBatches(), BatchEngine(max_requests=2, detach=True)
    await run(endpoint, out, rows(4), engine)
    copy = copied(out)
    await run(endpoint, out, rows(8), engine)
    assert len(endpoint.batches) == 4
    result = await run(endpoint, copy, rows(8), BatchEngine(max_requests=2))
    assert "2 batches of this run are at the endpoint; they go on." in caplog.text
    assert (result.succeeded, len(endpoint.batches)) == (8, 4)
    assert (len(lines_of(copy)), errors_of(copy), endpoint.billed) == (8, {}, ONCE)


async def test_parts_with_the_same_number_are_told_apart(
    autojump_clock: trio.testing.MockClock, out: Path
) -> None:
    endpoint = ScriptedBatches()
    await run(endpoint, out, rows(2), BatchEngine(max_requests=2, detach=True))
    copy = copied(out)
    await run(endpoint, copy, rows(4), BatchEngine(max_requests=2, detach=True))  # its part 2 has r2 and r3
    other = [*rows(2), *rows(8)[4:]]
    await run(endpoint, out, other, BatchEngine(max_requests=4, detach=True))  # and this one r4 to r7
    again = out.parent.parent / "again"
    copy.parent.rename(again)
    shutil.copytree(again, copy.parent)  # on a third machine
    for _ in range(2):
        result = await run(endpoint, copy, rows(8), BatchEngine(max_requests=2))
    assert (result.done, len(endpoint.batches), endpoint.billed) == (8, 3, ONCE)


async def test_a_run_at_its_place_asks_for_no_list(
    autojump_clock: trio.testing.MockClock, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[str] = []

    class Listing(ScriptedBatches):
        def _list_batches(self, *arguments: Any) -> Reply:
            listed.append("batches")
            return super()._list_batches(*arguments)

    endpoint = Listing()
    await run(endpoint, out, rows(4), BatchEngine(detach=True))
    listed.clear()
    await trio.sleep(BATCH_TIME)
    await run(endpoint, out, rows(4), BatchEngine(detach=True))
    assert listed == []
    monkeypatch.setattr("platform.node", lambda: "another")
    for _ in range(2):
        await run(endpoint, out, rows(4), BatchEngine(detach=True))
    assert listed == ["batches"]
