"""Runs in batches whose rows need several calls: steps and samples, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import headrace
from batch_runs import client_of, errors_of, in_ten_seconds, lines_of, rows
from headrace.bulk import Result
from headrace_batch import BatchEngine
from headrace_batch.ledger import LEDGER, read_ledger
from headrace_batch.part import Stage
from headrace_cost import Cost
from scripted_batches import BATCH_TIME, ScriptedBatches

pytestmark = [pytest.mark.trio, pytest.mark.usefixtures("without_threads")]

ROWS = 6
STEPS = [
    headrace.Step("first", "{name}", choices=[f"r{number}" for number in range(ROWS)]),
    headrace.Step("second", "again {first}", when="first != 'r1'"),
    headrace.Step("third", "and {second}", when="second != null"),
]
CALLS = sorted(f"r{row}-{step}" for row in range(ROWS) for step in (1, 2, 3) if row != 1 or step == 1)
"""The custom ids of all calls."""

LONGEST_STEP = BATCH_TIME + 2 * BatchEngine()._options.poll
"""Seconds of a step: its batch, a poll, and a part that waits for others."""


async def run(
    endpoint: ScriptedBatches, out: Path, *, engine: Any = "batch", items: Any = None, **arguments: Any
) -> Result:
    given: dict[str, Any] = {} if "prompt" in arguments else {"steps": STEPS}
    async with client_of(endpoint) as client:
        return await headrace.run(
            client, items or rows(ROWS), out=out, id_column="id", engine=engine, **given, **arguments
        )


def check_all(endpoint: ScriptedBatches, out: Path) -> None:
    """Each call was paid once, each row has its answers, and no part is left."""
    assert endpoint.billed == dict.fromkeys(CALLS, 1)
    lines = lines_of(out)
    assert lines["r3"]["headrace"]["steps"] == {
        "first": "r3",
        "second": "again r3",
        "third": "and again r3",
    }
    assert lines["r1"]["headrace"]["steps"] == {"first": "r1", "second": None, "third": None}
    assert (len(lines), errors_of(out)) == (ROWS, {})
    [folder] = out.parent.glob(f"{out.name}.batch-*")
    assert {part.stage for part in read_ledger(folder / LEDGER).parts.values()} == {Stage.SETTLED}
    assert [path.name for path in folder.iterdir()] == [LEDGER]


def sizes(endpoint: ScriptedBatches) -> list[int]:
    return [batch.file.content.count(b"\n") for batch in endpoint.batches.values()]


async def test_a_step_is_sent_when_its_inputs_are_there(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    result = await run(endpoint, out, engine=BatchEngine(max_requests=4))
    check_all(endpoint, out)
    assert sizes(endpoint) == [4, 2, 4, 1, 4, 1]
    assert result.elapsed < 3 * LONGEST_STEP
    assert result.steps["second"].done == 5


@pytest.mark.parametrize("stragglers", ["batch", "sync"])
async def test_rows_that_a_batch_did_not_finish_go_on_with_their_steps(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, stragglers: Any
) -> None:
    endpoint, out = ScriptedBatches(failures=0.5, seed=4), tmp_path / "out.jsonl"
    result = await run(endpoint, out, engine=BatchEngine(max_requests=4, stragglers=stragglers))
    assert (result.succeeded, result.failed) == (ROWS, 0)
    assert sum(endpoint.billed.values()) == len(CALLS)
    assert len(endpoint.batches) <= 3 * 3 * 3, "nine waves, each with rows in up to three rounds"


async def test_a_session_that_detaches_brings_each_row_one_step_on(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    for left in (6, 5, 5):
        result = await run(endpoint, out, engine=BatchEngine(detach=True))
        assert isinstance(result.stopped_by, headrace.RunDetached)
        assert f"1 batch with {left} rows goes on" in str(result.stopped_by)
        await trio.sleep(BATCH_TIME)
    assert (await run(endpoint, out, engine=BatchEngine(detach=True))).stopped_by is None
    check_all(endpoint, out)
    assert sizes(endpoint) == [6, 5, 5]


async def test_a_stopped_run_leaves_its_batches_and_is_continued(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    async with client_of(endpoint) as client:
        session = headrace.run(
            client, rows(ROWS), out=out, id_column="id", engine=BatchEngine(max_requests=4), steps=STEPS
        )
        async with session as running:
            await trio.sleep(LONGEST_STEP + BATCH_TIME / 4)
            running.stop()
            left = await running.wait()
    assert isinstance(left.stopped_by, headrace.RunDetached)
    assert left.stopped_by.interrupted
    await run(endpoint, out, engine=BatchEngine(max_requests=4))
    check_all(endpoint, out)


async def test_sessions_over_other_rows_leave_no_part_behind(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    await run(endpoint, out, engine=BatchEngine(detach=True))
    await trio.sleep(BATCH_TIME)
    await run(endpoint, out, only=["r1", "r2"])
    await run(endpoint, out)
    check_all(endpoint, out)


async def test_the_rest_of_all_steps_is_sent_at_once_when_it_is_time(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace_batch.options.BatchOptions.finish_at", in_ten_seconds)
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    result = await run(endpoint, out, engine=BatchEngine(finish_by="06:00"))
    assert (result.succeeded, result.elapsed < BATCH_TIME) == (ROWS, True)
    assert [batch.status for batch in endpoint.batches.values()] == ["cancelled"]


@pytest.mark.parametrize("is_async", [False, True])
async def test_rows_without_a_call_do_not_make_the_others_wait(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_async: bool
) -> None:
    monkeypatch.setattr("headrace.bulk.call_feed._MOST_WITHOUT_CALL", 3)

    async def slowly() -> AsyncIterator[dict[str, str]]:
        for row in rows(20):
            await trio.sleep(0.01)
            yield row

    step = headrace.Step("only", "{name}", when="name in ['r0', 'r9', 'r19']")
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    async with client_of(endpoint) as client:
        result = await headrace.run(
            client,
            slowly() if is_async else rows(20),
            out=out,
            id_column="id",
            engine="batch",
            steps=[step],
        )
    assert result.succeeded == 20
    assert sizes(endpoint) == [3]


async def test_each_answer_of_a_row_is_a_call_where_the_endpoint_gives_one(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    result = await run(endpoint, out, prompt="{name}", samples=3, parameters={"seed": 5})
    assert result.succeeded == ROWS
    assert lines_of(out)["r2"]["headrace"]["answers"] == ["r2"] * 3
    assert endpoint.billed == {f"r{row}-{call}": 1 for row in range(ROWS) for call in (1, 2, 3)}
    assert sizes(endpoint) == [ROWS] * 3
    contents = [batch.file.content for batch in endpoint.batches.values()]
    assert [b'"n":3' in content for content in contents] == [True, False, False]


async def test_answers_come_one_by_one_where_the_endpoint_rejects_several(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(rejects_n=True), tmp_path / "out.jsonl"
    result = await run(endpoint, out, prompt="{name}", samples=2)
    assert (result.succeeded, errors_of(out)) == (ROWS, {})
    assert endpoint.billed == {f"r{row}-{call}": 1 for row in range(ROWS) for call in (1, 2)}
    assert sizes(endpoint) == [ROWS] * 3


async def test_a_step_that_fails_names_itself_and_its_row(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    items = [*rows(2), {"id": "bad", "name": "refuse me"}]
    steps = [headrace.Step("one", "{id}"), headrace.Step("two", "{name} {one}")]
    async with client_of(endpoint) as client:
        await headrace.run(client, items, out=out, id_column="id", engine="batch", steps=steps)
    assert lines_of(out)["bad"]["error"]["message"].startswith("step two: ")
    assert errors_of(out) == {"bad": "status_error"}


async def test_totals_by_tag_are_those_of_ordinary_calls(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    items = [{**row, "shop": "north" if number % 3 else "south"} for number, row in enumerate(rows(7))]
    found = []
    for engine in (None, BatchEngine(stragglers="sync")):
        cost = Cost(prices={"m": {"input": "2", "output": "8"}})
        endpoint = ScriptedBatches(failures=0.4 if engine else 0, seed=2)
        async with client_of(endpoint, [cost]) as client:
            await headrace.run(
                client,
                items,
                out=tmp_path / f"{engine is None}.jsonl",
                prompt="{name}",
                id_column="id",
                tags={"shop": "@shop", "job": "sort"},
                engine=engine,
            )
        tallies = cost.totals.by_tag
        found.append({tag: (each.calls, each.prompt_tokens) for tag, each in tallies.items()})
    assert found[0] == {"shop=south": (3, 300), "shop=north": (4, 400), "job=sort": (7, 700)}
    assert found[1] == found[0]


async def test_a_row_that_no_batch_can_have_fails_alone_or_is_sent_at_once(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    items = [{"id": f"r{number}", "name": "x" * size} for number, size in enumerate((10, 400, 2_000, 300))]
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    await run(endpoint, out, items=items, prompt="{name}", engine=BatchEngine(max_bytes=800))
    assert errors_of(out) == {"r2": "request_error"}
    assert "bytes, but the file of a batch at most 800; make it" in lines_of(out)["r2"]["error"]["message"]
    assert sizes(endpoint) == [2, 1]
    assert all(len(batch.file.content) <= 800 for batch in endpoint.batches.values())
    again = BatchEngine(max_bytes=800, stragglers="sync")
    result = await run(endpoint, out, items=items, prompt="{name}", engine=again, only="failed")
    assert (result.succeeded, errors_of(out), len(endpoint.batches)) == (1, {}, 2)


async def test_a_row_that_the_endpoint_finds_too_large_fails_alone(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    items = [{"id": f"r{number}", "name": "x" * size} for number, size in enumerate((10, 400, 2_000, 300))]
    endpoint, out = ScriptedBatches(max_input_bytes=800), tmp_path / "out.jsonl"
    result = await run(endpoint, out, items=items, prompt="{name}")
    assert (result.succeeded, errors_of(out)) == (3, {"r2": "status_error"})
    assert "file is larger than 800 bytes" in lines_of(out)["r2"]["error"]["message"]
