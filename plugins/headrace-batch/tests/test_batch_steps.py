"""Runs in batches whose rows need several calls: steps and samples, in virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import headrace
from batch_runs import URL, lines_of, rows, run_at_once
from headrace.bulk import Result
from headrace_batch import BatchEngine
from scripted_batches import BATCH_TIME, ScriptedBatches

pytestmark = pytest.mark.trio

STEPS = [
    headrace.Step("first", "{name}", choices=[f"r{number}" for number in range(40)]),
    headrace.Step("second", "again {first}", when="first != 'r1'"),
    headrace.Step("third", "and {second}", when="second != null"),
]


@pytest.fixture(autouse=True)
def without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anyio.to_thread.run_sync", run_at_once)


async def run_rows(
    endpoint: ScriptedBatches, out: Path, number: int, policies: Any = (), **arguments: Any
) -> Result:
    client = headrace.Client(base_url=URL, model="m", policies=policies, transport=endpoint)
    async with client:
        return await headrace.run(client, rows(number), out=out, id_column="id", **arguments)


async def test_a_step_is_sent_when_its_inputs_are_there(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    result = await run_rows(endpoint, out, 6, steps=STEPS, engine=BatchEngine(max_requests=4))
    assert (result.succeeded, result.failed) == (6, 0)
    assert lines_of(out)["r3"]["headrace"]["steps"] == {
        "first": "r3",
        "second": "again r3",
        "third": "and again r3",
    }
    assert lines_of(out)["r1"]["headrace"]["steps"] == {"first": "r1", "second": None, "third": None}
    assert set(endpoint.billed.values()) == {1}
    assert sorted(endpoint.billed) == sorted(
        f"r{row}-{step}" for row in range(6) for step in (1, 2, 3) if row != 1 or step == 1
    )
    sizes = [batch.file.content.count(b"\n") for batch in endpoint.batches.values()]
    assert sizes == [4, 2, 4, 1, 4, 1]
    assert result.elapsed < 4 * BATCH_TIME
