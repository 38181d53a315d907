"""Batches and results that are not at the endpoint any more, or not for this key."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import trio
import trio.testing

from batch_runs import client_of, errors_of, lines_of, rows, run
from headrace.bulk import DirectCalls, run_identity
from headrace_batch import BatchEngine
from headrace_batch.batch_api import EndpointApi
from headrace_batch.engine import batch_folder
from headrace_batch.known_dialects import dialect_of
from headrace_batch.ledger import LEDGER, read_ledger
from headrace_batch.observed_run import ObservedRun
from headrace_batch.part_steps import BatchMissing
from scripted_batches import BATCH_TIME, ScriptedBatches

pytestmark = [pytest.mark.trio, pytest.mark.usefixtures("without_threads")]


async def begun(out: Path) -> ScriptedBatches:
    """An endpoint at which a run of six rows has three batches."""
    endpoint = ScriptedBatches()
    await run(endpoint, out, rows(6), BatchEngine(max_requests=2, detach=True))
    assert len(endpoint.batches) == 3
    return endpoint


async def fetch(endpoint: ScriptedBatches, out: Path) -> int:
    """Continue the run; returns how many rows have succeeded in this session."""
    return (await run(endpoint, out, rows(6), BatchEngine(max_requests=2))).succeeded


async def test_a_lost_batch_holds_up_no_other_and_its_rows_are_sent_again_when_it_stays_lost(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "headrace")
    out = tmp_path / "out.jsonl"
    endpoint = await begun(out)
    lost = list(endpoint.batches)[:2]
    for id in lost:
        del endpoint.batches[id]
    message = (
        rf"does not have {lost[0]} \(part 1\), {lost[1]} \(part 2\) with 4 rows, or their results, though"
    )
    with pytest.raises(BatchMissing, match=message):
        await fetch(endpoint, out)
    assert sorted(lines_of(out)) == ["r4", "r5"]
    assert len(endpoint.batches) == 1, "nothing was sent"
    assert "go on at the endpoint" not in caplog.text
    assert await fetch(endpoint, out) == 4
    assert f"does still not have batch {lost[0]}; its rows" in caplog.text
    assert errors_of(out) == {}
    assert endpoint.billed == {f"r{number}": 1 for number in range(6)}


async def test_a_batch_that_is_there_again_is_fetched(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    endpoint = await begun(out)
    id = next(iter(endpoint.batches))
    for _ in range(2):  # it must be lost in two sessions one after the other
        lost = endpoint.batches.pop(id)
        with pytest.raises(BatchMissing):
            await fetch(endpoint, out)
        lost.created = trio.current_time()
        endpoint.batches[id] = lost
        await run(endpoint, out, rows(6), BatchEngine(max_requests=2, detach=True))
    assert await fetch(endpoint, out) == 2
    assert len(endpoint.batches) == 3
    assert endpoint.billed == {f"r{number}": 1 for number in range(6)}


async def test_with_another_key_nothing_is_sent_again(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    endpoint = await begun(out)
    batches, files = dict(endpoint.batches), dict(endpoint.files)
    endpoint.batches, endpoint.files = {}, {}
    for _ in range(3):
        with pytest.raises(BatchMissing, match="for this key; use the key with which they were made"):
            await fetch(endpoint, out)
    assert (endpoint.batches, endpoint.files) == ({}, {})
    endpoint.batches, endpoint.files = batches, files
    assert await fetch(endpoint, out) == 6
    assert endpoint.billed == {f"r{number}": 1 for number in range(6)}


async def test_what_is_lost_with_its_files_is_sent_again_without_the_folder(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    endpoint = await begun(out)
    lost = endpoint.batches.pop(next(iter(endpoint.batches)))
    del endpoint.files[lost.file.id]
    with pytest.raises(BatchMissing) as raised:
        await fetch(endpoint, out)
    folder = batch_folder(out, run_identity(out).id)
    assert f"remove {folder} and run the same command again" in str(raised.value)
    shutil.rmtree(folder)
    assert await fetch(endpoint, out) == 2
    assert endpoint.billed == {f"r{number}": 1 for number in range(6)}


async def test_rows_whose_results_were_deleted_are_sent_again(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    endpoint = await begun(out)
    await trio.sleep(2 * BATCH_TIME)
    endpoint._move_on()
    first = next(iter(endpoint.batches.values()))
    assert first.output is not None
    endpoint.files[first.output].deleted = True
    with pytest.raises(
        BatchMissing, match=rf"does not have {first_id(endpoint)} \(part 1\) with 2 rows, or their"
    ):
        await fetch(endpoint, out)
    assert sorted(lines_of(out)) == ["r2", "r3", "r4", "r5"]
    assert await fetch(endpoint, out) == 2
    assert (len(endpoint.batches), errors_of(out)) == (4, {})
    assert endpoint.billed == {f"r{number}": 2 if number < 2 else 1 for number in range(6)}


async def test_who_looks_at_the_batches_is_told_that_some_are_lost(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    endpoint = await begun(out)
    lost = endpoint.batches.pop(id := first_id(endpoint))
    parts = read_ledger(batch_folder(out, run_identity(out).id) / LEDGER).parts.values()
    async with client_of(endpoint) as client:
        (served,) = client.endpoints
        apis = {served.base_url: EndpointApi(DirectCalls(client, served), dialect_of(served))}
        seen = ObservedRun(list(parts), apis)
        await seen.wait(60, lambda text: None)
        assert "part 1: 2 rows, not found at the endpoint for this key" in seen.describe()
        with pytest.raises(BatchMissing, match="1 batch was not found: use the key of the run; 'headrace "):
            seen.check()
        endpoint.batches[id] = lost
        seen = ObservedRun(list(parts), apis)
        await seen.wait(60, lambda text: None)
        seen.check()


def first_id(endpoint: ScriptedBatches) -> str:
    return next(iter(endpoint.batches))
