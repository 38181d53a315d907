"""Rows of the input that are changed, removed or added while their batches are live."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

import headrace
from batch_runs import lines_of, rows, run
from headrace_batch import BatchEngine
from headrace_batch.ledger import LEDGER, read_ledger
from headrace_batch.part import Stage
from scripted_batches import BATCH_TIME, Killed, ScriptedBatches

pytestmark = [pytest.mark.trio, pytest.mark.usefixtures("without_threads")]
LEAVING = BatchEngine(max_requests=3, detach=True)


def stages_of(out: Path) -> list[Stage]:
    [folder] = out.parent.glob(f"{out.name}.batch-*")
    return [part.stage for part in read_ledger(folder / LEDGER).parts.values()]


async def test_batches_with_removed_rows_are_named_and_kept(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "headrace")
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    await run(endpoint, out, rows(9), LEAVING)
    await trio.sleep(BATCH_TIME)
    for _ in range(2):
        caplog.clear()
        assert (await run(endpoint, out, rows(4))).done == 4
        assert "2 batches have 5 rows that this session does not have" in caplog.text
        assert stages_of(out) == [Stage.SETTLED, Stage.ENDED, Stage.CREATED]
        with pytest.raises(headrace.JournalError, match="the engine 'batch' may have calls"):
            await run(endpoint, out, rows(4), None)
    assert "result" in caplog.text
    caplog.clear()
    assert (await run(endpoint, out, rows(9))).done == 9
    assert not caplog.text, "what an earlier session has merged is not named"
    assert set(endpoint.billed.values()) == {1}
    assert (await run(endpoint, out, rows(9), None)).left == 0


@pytest.mark.parametrize("kill", range(6, 16))
async def test_batches_whose_rows_have_all_changed_are_cancelled(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, kill: int
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    await run(endpoint, out, rows(6), LEAVING)
    changed = [{**row, "name": f"new {row['id']}"} for row in rows(6)]
    endpoint.accidents = {kill: "kill_before"}
    try:
        await run(endpoint, out, changed, LEAVING)
    except BaseException as error:
        with pytest.RaisesGroup(Killed, flatten_subgroups=True, allow_unwrapped=True):
            raise error
    endpoint.accidents = {}
    result = await run(endpoint, out, changed)
    assert (result.succeeded, len(lines_of(out))) == (6, 6)
    texts = [line["response"]["body"]["choices"][0]["message"]["content"] for line in lines_of(out).values()]
    assert all(text.startswith("new ") for text in texts)
    assert [batch.status for batch in endpoint.batches.values()] == [*["cancelled"] * 2, *["completed"] * 2]
    assert set(stages_of(out)) == {Stage.SETTLED}
    assert (await run(endpoint, out, changed, None)).left == 0
