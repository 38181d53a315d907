"""The time at which the rest of a run is sent at once: sessions that end before it, and uploads."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import anyio
import pytest
import trio
import trio.testing

from batch_runs import in_ten_seconds, rows, run
from headrace import Call, Reply
from headrace_batch import BatchEngine
from headrace_batch.ledger import LEDGER, read_ledger
from scripted_batches import Killed, ScriptedBatches

pytestmark = [pytest.mark.trio, pytest.mark.usefixtures("without_threads")]

IN_AN_HOUR = datetime.datetime.now().replace(microsecond=0) + datetime.timedelta(hours=1)
FINISH_BY = IN_AN_HOUR.time().isoformat()


async def run_until_killed(endpoint: ScriptedBatches, out: Path) -> Path:
    """A session that makes batches and is killed; returns its ledger."""
    endpoint.accidents = {7: "kill_before"}
    with pytest.RaisesGroup(Killed, flatten_subgroups=True, allow_unwrapped=True):
        await run(endpoint, out, rows(5), BatchEngine(finish_by=FINISH_BY))
    assert [batch.status for batch in endpoint.batches.values()] == ["in_progress"]
    [folder] = out.parent.glob(f"{out.name}.batch-*")
    return folder / LEDGER


async def test_a_session_that_comes_too_late_finishes_at_once(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "headrace")
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    ledger = await run_until_killed(endpoint, out)
    assert read_ledger(ledger).finish_at == IN_AN_HOUR.astimezone()
    yesterday = (IN_AN_HOUR - datetime.timedelta(days=1)).astimezone()
    records = [json.loads(line) for line in ledger.read_text().splitlines()]
    for record in records:
        if "finish_at" in record:
            record["finish_at"] = yesterday.isoformat()
    ledger.write_text("".join(json.dumps(record) + "\n" for record in records))
    result = await run(endpoint, out, rows(6), BatchEngine(finish_by=FINISH_BY))
    assert (result.succeeded, result.left) == (6, 0)
    assert [batch.status for batch in endpoint.batches.values()] == ["cancelled"]
    assert f"It is time to finish (it was {yesterday:%H:%M} on {yesterday:%d %B})" in caplog.text
    await run(endpoint, out, rows(7), BatchEngine(finish_by=FINISH_BY))  # no batch is left: it is tomorrow's
    assert [batch.status for batch in endpoint.batches.values()] == ["cancelled", "completed"]


async def test_a_session_with_another_time_keeps_to_that(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    ledger = await run_until_killed(endpoint, out)
    later = IN_AN_HOUR + datetime.timedelta(hours=1)
    await run(endpoint, out, rows(5), BatchEngine(finish_by=later.time().isoformat()))
    assert read_ledger(ledger).finish_at == later.astimezone()
    assert [batch.status for batch in endpoint.batches.values()] == ["completed"]


async def test_an_upload_is_not_awaited_when_it_is_time(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(ScriptedBatches):
        async def send(self, call: Call) -> Reply:
            if call.request.path == "/files" and call.request.method == "POST":
                await anyio.sleep(3600)
            return await super().send(call)

    monkeypatch.setattr("headrace_batch.options.BatchOptions.finish_at", in_ten_seconds)
    endpoint = Slow()
    result = await run(endpoint, tmp_path / "out.jsonl", rows(5), BatchEngine(finish_by="06:00"))
    assert (result.succeeded, result.elapsed < 60, endpoint.batches) == (5, True, {})
