"""A run in batches whose failed rows are sent again, and whose rows are cancelled, in virtual time."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import headrace
from batch_runs import client_of, errors_of, lines_of, rows, run_at_once
from headrace_batch import BatchEngine
from headrace_cost import Cost
from scripted_batches import BATCH_TIME, ScriptedBatches

pytestmark = pytest.mark.trio

PRICES = {"m": {"input": "2", "output": "8"}}
ROW_COST = Decimal("0.0006") / 2
STEPS = [headrace.Step("first", "{name}"), headrace.Step("second", "{first}")]
KINDS: dict[str, tuple[dict[str, Any], str, int]] = {
    "single": ({"prompt": "{name}"}, "r{}", 1),
    "steps": ({"steps": STEPS}, "r{}-2", 2),
    "samples": ({"prompt": "{name}", "samples": 2}, "r{}-2", 2),
}
"""The arguments of each kind of run, the id of a call that may fail, and how many calls a row has."""


@pytest.fixture(autouse=True)
def without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anyio.to_thread.run_sync", run_at_once)


def begun(
    client: headrace.Client, out: Path, number: int, kind: str = "single", only: Any = None, **options: Any
) -> Any:
    """A run over so many rows, to be entered."""
    engine = BatchEngine(max_requests=4, **options)
    return headrace.run(
        client, rows(number), out=out, id_column="id", engine=engine, only=only, **KINDS[kind][0]
    )


async def until_failed(going: Any, number: int) -> None:
    with trio.fail_after(20 * BATCH_TIME):
        while going.snapshot().failed < number:  # noqa: ASYNC110 - there is no event
            await trio.sleep(1)


def unsuccessful(result: headrace.bulk.Result) -> int:
    """How many rows have failed or are left."""
    return result.failed_before + result.failed + result.left


@pytest.mark.parametrize("kind", KINDS)
async def test_failed_rows_go_into_a_new_batch_of_the_same_session(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, kind: str
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    _, failing, calls = KINDS[kind]
    endpoint.rejected.update(dict.fromkeys(map(failing.format, range(0, 10, 2)), 100))
    cost = Cost(prices=PRICES, budget="1")
    async with client_of(endpoint, [cost]) as client, begun(client, out, 10, kind, max_tokens=60) as going:
        await until_failed(going, 1)
        assert going.snapshot().left > 0  # five rows are in more than one batch
        endpoint.rejected.clear()
        going.retry_failed()
        result = await going.wait()
    assert (result.succeeded, result.failed, result.left) == (10, 0, 0)
    assert errors_of(out) == {}
    assert len(lines_of(out)) == 10
    assert set(endpoint.billed.values()) == {1}
    assert endpoint.billed.total() == 10 * calls
    assert cost.spent == 10 * calls * ROW_COST


async def test_failed_rows_are_sent_again_while_others_are_in_batches(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    endpoint.rejected.update({"r0": 100, "r2": 100})
    async with client_of(endpoint) as client, begun(client, out, 4) as going:
        await until_failed(going, 2)
        result = await going.wait()
    assert result.failed == 2
    endpoint.rejected["r5"] = 1
    async with client_of(endpoint) as client, begun(client, out, 8) as going:
        await trio.sleep(BATCH_TIME / 4)
        assert len(endpoint.batches) == 2
        endpoint.rejected.clear()
        going.retry_failed()
        await trio.sleep(BATCH_TIME)
        assert len(endpoint.batches) == 3
        result = await going.wait()
    assert (result.done_before, result.succeeded, result.failed) == (2, 6, 0)
    assert endpoint.billed == {f"r{number}": 1 for number in range(8)}
    assert result.elapsed < 2 * BATCH_TIME + 120


async def test_failed_rows_of_a_paused_run_are_sent_after_the_pause(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    endpoint.rejected["r0"] = 100
    async with client_of(endpoint) as client, begun(client, out, 8, max_tokens=60) as going:
        await trio.sleep(BATCH_TIME / 2)
        going.pause()
        await until_failed(going, 1)
        endpoint.rejected.clear()
        going.retry_failed()
        number = len(endpoint.batches)
        await trio.sleep(3 * BATCH_TIME)
        assert (going.snapshot().failed, len(endpoint.batches)) == (0, number)
        assert going.snapshot().left
        going.resume()
        result = await going.wait()
    assert (result.succeeded, result.failed) == (8, 0)
    assert endpoint.billed == {f"r{number}": 1 for number in range(8)}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_run_that_is_stopped_after_a_retry_loses_and_pays_nothing_twice(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, kind: str
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    _, failing, calls = KINDS[kind]
    endpoint.rejected.update(dict.fromkeys(map(failing.format, (0, 1, 5)), 100))
    async with client_of(endpoint) as client, begun(client, out, 10, kind) as going:
        assert (await going.wait()).failed == 3
    for seconds in (0.0, 0.5, 2.0, 30.0, 65.0, 120.0):
        async with client_of(endpoint) as client, begun(client, out, 10, kind) as going:
            going.retry_failed()
            await trio.sleep(seconds)
            going.stop()
            result = await going.wait()
            assert unsuccessful(result) == 3
    endpoint.rejected.clear()
    async with client_of(endpoint) as client:
        while unsuccessful(result):
            async with begun(client, out, 10, kind) as going:
                going.retry_failed()
                result = await going.wait()
    assert result.done == 10
    assert len(lines_of(out)) == 10
    assert set(endpoint.billed.values()) == {1}
    assert endpoint.billed.total() == 10 * calls


@pytest.mark.parametrize("kind", KINDS)
async def test_rows_in_a_batch_are_paid_and_their_answers_dropped(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, kind: str
) -> None:
    endpoint, out = ScriptedBatches(failures=0.3, seed=2), tmp_path / "out.jsonl"
    cost = Cost(prices=PRICES, budget="1")
    async with client_of(endpoint, [cost]) as client, begun(client, out, 8, kind) as going:
        await trio.sleep(BATCH_TIME / 2)
        done = await going.cancel(["r0", "r1", "r2", "r3", "r4", "r99"])
        assert done.cancelled == ["r0", "r1", "r2", "r3", "r4"]
        assert done.message == (
            "Sent in a batch, so paid, and dropped when their answers come: r0, r1, r2, r3, r4. "
            "Not in the input: r99."
        )
        result = await going.wait()
    assert (result.succeeded, result.failed) == (3, 5)
    assert errors_of(out) == dict.fromkeys(["r0", "r1", "r2", "r3", "r4"], "cancelled")
    lines = lines_of(out)
    assert lines["r0"]["error"]["message"].endswith("cancelled while it was in a batch")
    assert set(endpoint.billed.values()) == {1}
    spent = sum((Decimal(str(each["headrace"].get("cost", 0))) for each in lines.values()), Decimal(0))
    assert spent == cost.spent == endpoint.billed.total() * ROW_COST
    assert endpoint.billed.total() < 8 * KINDS[kind][2]  # those that the endpoint failed are not sent again


@pytest.mark.parametrize("kind", KINDS)
async def test_a_cancelled_row_stays_cancelled_when_the_run_is_continued(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, kind: str
) -> None:
    endpoint, out = ScriptedBatches(failures=0.3, seed=2), tmp_path / "out.jsonl"
    cost = Cost(prices=PRICES, budget="1")
    async with client_of(endpoint, [cost]) as client, begun(client, out, 8, kind) as going:
        await trio.sleep(BATCH_TIME / 2)
        await going.cancel(["r0", "r1"])
        await going.cancel(["r2", "r3", "r4"])
        going.stop()
        assert (await going.wait()).failed == 0
    async with client_of(endpoint, [Cost(prices=PRICES)]) as client:
        async with begun(client, out, 8, kind) as going:
            result = await going.wait()
        assert errors_of(out) == dict.fromkeys(["r0", "r1", "r2", "r3", "r4"], "cancelled")
        assert (result.succeeded, result.failed) == (3, 5)
        assert set(endpoint.billed.values()) == {1}
        spent = sum(Decimal(str(each["headrace"].get("cost", 0))) for each in lines_of(out).values())
        assert spent == endpoint.billed.total() * ROW_COST
        async with begun(client, out, 8, kind, only="failed") as going:
            assert (await going.wait()).done == 8
    assert errors_of(out) == {}


async def test_cancelled_rows_of_a_part_that_was_not_sent_are_not_sent_by_the_next_session(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(max_enqueued=4), tmp_path / "out.jsonl"
    async with client_of(endpoint) as client:
        async with begun(client, out, 11, max_tokens=60) as going:
            await trio.sleep(BATCH_TIME / 2)
            done = await going.cancel(["r10", "r5"])
            assert done.message == "Fail when their turn comes: r10, r5."
            going.stop()
            await going.wait()
        async with begun(client, out, 11, max_tokens=60) as going:
            await going.wait()
    assert errors_of(out) == dict.fromkeys(["r5", "r10"], "cancelled")
    assert endpoint.billed == {f"r{number}": 1 for number in range(11) if number not in {5, 10}}


async def test_a_cancelled_row_that_has_failed_is_sent_again_beside_rows_of_its_batch_that_are_left(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    async with client_of(endpoint) as client:
        async with begun(client, out, 4) as going:
            await trio.sleep(BATCH_TIME / 2)
            await going.cancel(["r0"])
            going.stop()
            await going.wait()
        async with begun(client, out, 4, only=["r0", "r1"]) as going:
            result = await going.wait()
        assert (result.succeeded, result.failed) == (1, 1)
        async with begun(client, out, 4, only="failed") as going:
            result = await going.wait()
        assert (result.succeeded, result.failed) == (3, 0)
    assert endpoint.billed == {f"r{number}": 1 for number in range(4)}


async def test_rows_that_are_in_no_batch_yet_are_not_sent(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(max_enqueued=4), tmp_path / "out.jsonl"
    async with client_of(endpoint) as client, begun(client, out, 11, max_tokens=60) as going:
        await trio.sleep(BATCH_TIME / 2)
        at_endpoint = Counter(
            id
            for batch in endpoint.batches.values()
            for id in ("r0", "r10")
            if id.encode() in batch.file.content
        )
        assert at_endpoint == {"r0": 1}
        done = await going.cancel(["r10", "r9", "r0"])
        assert done.message == (
            "Fail when their turn comes: r10, r9. "
            "Sent in a batch, so paid, and dropped when their answers come: r0."
        )
        going.pause()
        going.resume()
        result = await going.wait()
        assert (result.succeeded, result.failed) == (8, 3)
        assert errors_of(out) == dict.fromkeys(["r0", "r9", "r10"], "cancelled")
    assert endpoint.billed == {f"r{number}": 1 for number in range(9)}


async def test_a_cancelled_row_can_be_sent_again(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    async with client_of(endpoint) as client, begun(client, out, 8) as going:
        going.pause()
        await trio.sleep(BATCH_TIME)
        assert (await going.cancel(["r1", "r6"])).cancelled == ["r1", "r6"]
        going.resume()
        await until_failed(going, 2)
        going.retry_failed()
        result = await going.wait()
    assert (result.succeeded, result.failed) == (8, 0)
    assert endpoint.billed == {f"r{number}": 1 for number in range(8)}


async def test_a_stop_by_a_control_message_leaves_the_batches(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    async with client_of(endpoint) as client, begun(client, out, 8) as going:
        await trio.sleep(BATCH_TIME / 2)
        answer = going._opened().control.stop()
        result = await going.wait()
    assert answer.message == "Stopping: what is being sent is finished; run its command again to continue."
    assert result.going_on.startswith("2 batches with 8 rows go on at the endpoint.")
