"""Runs that have left batches at the endpoint, and are continued in another way."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest
import trio.testing

import headrace
from batch_runs import rows, run
from headrace.bulk import run_identity
from headrace_batch import BatchEngine
from headrace_batch.engine import batch_folder
from headrace_batch.ledger import LEDGER, read_ledger
from headrace_batch.observed_run import left_by_fresh
from headrace_batch.part import Stage
from headrace_batch.part_file import PartWriter
from headrace_cost import Cost
from scripted_batches import Accident, Killed, ScriptedBatches

pytestmark = [pytest.mark.trio, pytest.mark.usefixtures("without_threads")]


async def test_without_the_engine_a_run_is_refused_while_its_batches_go_on(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    await run(endpoint, out, rows(5), BatchEngine(max_requests=3, detach=True))
    twice = r"out\.jsonl: the engine 'batch' may have calls .* name it as engine= to fetch their results"
    with pytest.raises(headrace.JournalError, match=twice):
        await run(endpoint, out, rows(5), None)
    killed = ScriptedBatches({4: "kill_after"})  # the answer to the first create
    other = tmp_path / "other.jsonl"
    with pytest.RaisesGroup(Killed, flatten_subgroups=True, allow_unwrapped=True):
        await run(killed, other, rows(3))
    with pytest.raises(headrace.JournalError, match="may have calls"):
        await run(killed, other, rows(3), None, only=["r1"])
    assert not endpoint.billed
    assert (await run(endpoint, out, rows(5), only=["r1"])).succeeded == 1
    assert (await run(endpoint, out, rows(5))).succeeded == 4
    assert (await run(endpoint, out, rows(6), None)).succeeded == 1
    assert (await run(killed, other, rows(4), None, keep_done=True)).succeeded == 4


async def test_an_endpoint_with_batches_must_stay_in_the_settings(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    await run(endpoint, out, rows(2), BatchEngine(detach=True))
    client = headrace.Client(base_url="https://other.test/v1", model="m", policies=[], transport=endpoint)
    lost = r"batches of this run are at https://batches.test/v1, but the client has no such endpoint; add it"
    async with client:
        with pytest.raises(headrace.SettingsError, match=lost):
            await headrace.run(client, rows(2), out=out, prompt="{name}", id_column="id", engine="batch")


@pytest.mark.parametrize("samples", [None, 2])
async def test_parts_with_long_ids_are_settled_by_a_later_session(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, samples: int | None
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    items = [{"id": f"{number}" * 100, "name": "ja"} for number in range(4)]
    more: dict[str, Any] = {"samples": samples, "choices": ["ja"]} if samples else {}
    await run(endpoint, out, items, BatchEngine(max_requests=3, detach=True), **more)
    # A session that has two of the four rows merges a part of which it cannot know all rows.
    await run(endpoint, out, items[:2], "batch", **more)
    result = await run(endpoint, out, items, "batch", **more)
    assert result.done == 4
    assert sum(endpoint.billed.values()) == 4 * (samples or 1)
    assert stages_of(out) == {Stage.SETTLED}
    assert (await run(endpoint, out, items, None, **more)).done == 4


def stages_of(out: Path) -> set[Stage]:
    [folder] = out.parent.glob(f"{out.name}.batch-*")
    return {part.stage for part in read_ledger(folder / LEDGER).parts.values()}


async def test_parts_that_fail_at_once_have_one_error(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    for _ in range(2):  # the second session resumes planned parts
        policies = [Cost(prices={"m": {"input": "2", "output": "8"}}, budget="0.0000001")]
        with pytest.raises(headrace.BudgetExceeded, match="make batches smaller"):
            await run(endpoint, out, rows(6), BatchEngine(max_requests=2), policies)
    assert not endpoint.batches


async def test_a_new_output_names_the_batches_of_the_earlier_one(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    await run(endpoint, out, rows(4), BatchEngine(max_requests=2, detach=True))
    await run(endpoint, out, rows(4), fresh=True)
    kept = tmp_path / "out.jsonl.1"
    assert left_by_fresh(out) == {kept: 2}
    folder = batch_folder(kept, run_identity(kept).id)
    assert (folder / LEDGER).exists()
    (tmp_path / "link.jsonl").symlink_to(kept)
    assert batch_folder(tmp_path / "link.jsonl", run_identity(kept).id) == folder
    for name in ("copy.jsonl", "copy.jsonl.journal"):  # a copy has no part in the folder of its original
        shutil.copy(tmp_path / name.replace("copy.jsonl", "out.jsonl"), tmp_path / name)
    copy = tmp_path / "copy.jsonl"
    assert not batch_folder(copy, run_identity(copy).id).exists()


async def test_a_full_disk_is_one_line(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    with monkeypatch.context() as patch:
        patch.setattr(PartWriter, "finish", full)
        with pytest.raises(
            headrace.JournalError, match="cannot be read or written: No space left on device; mend that"
        ):
            await run(endpoint, out, rows(5), BatchEngine(max_requests=2))
    assert (await run(endpoint, out, rows(5), BatchEngine(max_requests=2))).succeeded == 5
    assert set(endpoint.billed.values()) == {1}


async def test_an_endpoint_that_fails_again_and_again_is_named_while_it_is_tried(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    accidents: dict[int, Accident] = dict.fromkeys(range(3, 8), "500_before")
    endpoint, out = ScriptedBatches(accidents), tmp_path / "out.jsonl"
    assert (await run(endpoint, out, rows(2))).succeeded == 2
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == 1
    assert said[0].endswith("; it is tried again for some minutes")
