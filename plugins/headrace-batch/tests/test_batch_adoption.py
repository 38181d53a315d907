"""Batches that another program has created become part of a run, in virtual time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import headrace
from batch_runs import lines_of, rows, run
from headrace_batch import BatchEngine
from headrace_cost import Cost
from scripted_batches import BATCH_TIME, ScriptedBatches

pytestmark = [pytest.mark.trio, pytest.mark.usefixtures("without_threads")]

PRICES = {"m": {"input": "2", "output": "8"}}
ROW_COST = Decimal("0.0003")
"""100 and 50 tokens, at half the price."""


def request(id: str, **changed: Any) -> str:
    """A line as a script writes it: with spaces, and its members in another order."""
    body = {"messages": [{"role": "user", "content": id}], "model": "m", **changed}
    return json.dumps({"custom_id": id, "url": "/v1/chat/completions", "method": "POST", "body": body})


def requests(ids: Sequence[str], **changed: Any) -> bytes:
    return "\n".join(request(id, **changed) for id in ids).encode()


def sizes(endpoint: ScriptedBatches) -> list[int]:
    """How many rows each batch of the run had."""
    own = (each for each in endpoint.batches.values() if "headrace_part" in each.metadata)
    return [each.file.content.count(b"\n") for each in own]


async def test_rows_get_the_results_of_an_adopted_batch_and_the_others_are_sent(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "headrace")
    endpoint, out, cost = ScriptedBatches(), tmp_path / "out.jsonl", Cost(prices=PRICES, budget="1")
    id = endpoint.make_batch(requests(["r0", "r1", "x0", "r2"]))
    engine = BatchEngine(adopt=[id])
    result = await run(endpoint, out, rows(5), engine, [cost])
    assert (result.succeeded, result.cost, cost.spent) == (5, 5 * ROW_COST, 5 * ROW_COST)
    assert sizes(endpoint) == [2]
    assert endpoint.billed == dict.fromkeys(["x0", *(f"r{number}" for number in range(5))], 1)
    assert lines_of(out)["r1"]["response"]["request_id"] == "req-r1"
    said = [each.message for each in caplog.records if id in each.message]
    assert said == [
        f"Batch {id} with 4 requests is adopted.",
        f"Batch {id}: not rows of this session: 1 of its 4 requests (x0). Their results are not used.",
    ]
    requests_before = endpoint.requests
    again = await run(endpoint, out, rows(5), engine)
    assert (again.done, again.succeeded) == (5, 0)
    assert endpoint.requests == requests_before


async def test_rows_that_an_adopted_batch_did_not_finish_are_sent_by_the_run(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(failures=0.5, seed=1), tmp_path / "out.jsonl"
    ids = [f"r{number}" for number in range(12)]
    engine = BatchEngine(adopt=[endpoint.make_batch(requests(ids, temperature=1))])
    result = await run(endpoint, out, rows(12), engine)
    assert result.succeeded == 12
    assert endpoint.billed == dict.fromkeys(ids, 1)
    first, *own = endpoint.batches.values()
    assert own
    assert b"temperature" in first.file.content
    assert not any(b"temperature" in each.file.content for each in own)


@pytest.mark.parametrize("stragglers", ["batch", "sync"])
async def test_the_rest_of_an_adopted_batch_is_there_for_a_later_session(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, stragglers: Any
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    ids = [f"r{number}" for number in range(6)]
    engine = BatchEngine(adopt=[endpoint.make_batch(requests(ids))], stragglers=stragglers)
    assert (await run(endpoint, out, rows(6), engine, limit=2)).succeeded == 2
    assert (await run(endpoint, out, rows(6), "batch", limit=4)).succeeded == 2
    assert (await run(endpoint, out, rows(7), BatchEngine())).succeeded == 3
    assert endpoint.billed == dict.fromkeys([*ids, "r6"], 1)
    assert sizes(endpoint) == [1]
    assert sorted(lines_of(out)) == [*ids, "r6"]


async def test_an_adopted_batch_is_awaited_by_a_later_session(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    id = endpoint.make_batch(requests(["r0", "r1"]))
    left = await run(endpoint, out, rows(3), BatchEngine(adopt=[id], detach=True))
    assert "2 batches with 3 rows go on" in str(left.stopped_by)
    result = await run(endpoint, out, rows(3))
    assert (result.succeeded, endpoint.billed) == (3, {"r0": 1, "r1": 1, "r2": 1})


async def test_a_failed_row_of_an_adopted_batch_can_be_sent_again(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    endpoint.lines_of = lambda content: content.replace(b'"content":"r1"', b'"content":"other"')
    engine = BatchEngine(adopt=[endpoint.make_batch(requests(["r0", "r1", "x"]))])
    first = await run(endpoint, out, rows(2), engine, choices=["r0", "r1"], keep_done=True)
    assert (first.succeeded, first.failed) == (1, 1)
    endpoint.lines_of = None
    again = await run(endpoint, out, rows(2), engine, choices=["r0", "r1"], retry_failed=True)
    assert (again.succeeded, again.failed, endpoint.billed["r1"]) == (1, 0, 2)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model": "n", "seed": 1}, "different from this run: 2 of its 2 requests, beginning with r0 (in m"),
        ({"temperature": 0.0}, "(in temperature). Its answers are used"),
        ({}, None),
    ],
)
async def test_requests_that_differ_from_those_of_the_run_are_named(
    autojump_clock: trio.testing.MockClock,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    changed: dict[str, Any],
    said: str | None,
) -> None:
    caplog.set_level("INFO", "headrace")
    endpoint = ScriptedBatches()
    engine = BatchEngine(adopt=[endpoint.make_batch(requests(["r0", "r1"], **changed))])
    assert (await run(endpoint, tmp_path / "out.jsonl", rows(2), engine)).succeeded == 2
    assert not sizes(endpoint)
    assert ("different" in caplog.text) == (said is not None)
    assert (said or "") in caplog.text


async def test_requests_to_another_path_are_no_answers_for_the_rows(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "headrace")
    endpoint = ScriptedBatches()
    content = requests(["r0", "r1"]).replace(b"/v1/chat/completions", b"/v1/responses")
    engine = BatchEngine(adopt=[endpoint.make_batch(content)])
    assert (await run(endpoint, tmp_path / "out.jsonl", rows(2), engine)).succeeded == 2
    assert sizes(endpoint) == [2]
    assert "with another path than this run: 2 of its 2 requests. Their rows are sent." in caplog.text
    assert "not rows" not in caplog.text


async def test_the_input_may_be_the_file_of_the_adopted_batch(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "headrace")
    endpoint, source = ScriptedBatches(), tmp_path / "requests.jsonl"
    ids = ["short", "x" * 100]
    source.write_bytes(requests(ids, max_tokens=5))
    malformed = [b"not JSON", b'{"custom_id": "a"}', b'{"body": {}}', b"[]", b"{}"]
    malformed.append(b'{"custom_id": "a", "body": {"model": 5}}')
    content = b"\n".join([b"\xef\xbb\xbf" + source.read_bytes(), b"", *malformed, b""])
    engine = BatchEngine(adopt=endpoint.make_batch(content))
    client = headrace.Client(base_url="https://batches.test/v1", policies=[], transport=endpoint)
    async with client:
        result = await headrace.run(client, source, out=tmp_path / "out.jsonl", engine=engine)
    assert (result.succeeded, sizes(endpoint), endpoint.billed) == (2, [], dict.fromkeys(ids, 1))
    assert "6 malformed lines in its file" in caplog.text
    assert "differ" not in caplog.text


async def test_a_batch_that_is_refused_after_its_adoption_is_sent_by_the_run(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    id = endpoint.make_batch(requests(["r0", "r1"]))
    await run(endpoint, out, rows(2), BatchEngine(adopt=[id], detach=True))
    endpoint.batches[id].status = "failed"
    assert (await run(endpoint, out, rows(2))).succeeded == 2
    assert sizes(endpoint) == [2]


def lose_file(endpoint: ScriptedBatches) -> str:
    id = endpoint.make_batch(requests(["r0"]))
    endpoint.batches[id].file.deleted = True
    return id


def refuse(endpoint: ScriptedBatches) -> str:
    id = endpoint.make_batch(requests(["r0"]))
    endpoint.batches[id].status = "failed"
    endpoint.batches[id].problems = [{"code": "x", "message": "too many rows"}]
    return id


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda endpoint: "batch-99", r"adopt=batch-99: there is no such batch at https://batches.test/v1;"),
        (lambda endpoint: "../files", r"adopt='../files': must be the id of a batch, like batch_abc123"),
        (lambda endpoint: 5, r"adopt=5: must be the id of a batch"),
        (refuse, r"adopt=batch-2: the endpoint has refused this batch \(too many rows\); leave it out"),
        (lose_file, r"adopt=batch-2: its file file-1 is not at the endpoint any more"),
        (
            lambda endpoint: endpoint.make_batch(requests(["r0"]), {"headrace_run": "abc"}),
            r"adopt=batch-2: this batch belongs to another run of headrace \(headrace_run is abc\)",
        ),
        (lambda endpoint: endpoint.make_batch(b"\n\n"), r"adopt=batch-2: its file file-1 has no requests"),
    ],
)
async def test_a_batch_that_cannot_be_adopted_is_named_and_nothing_is_sent(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, make: Any, message: str
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    id = make(endpoint)
    with pytest.raises(headrace.SettingsError, match=message):
        await run(endpoint, out, rows(1), BatchEngine(adopt=[id]))
    assert not sizes(endpoint)
    assert (await run(endpoint, out, rows(1))).succeeded == 1


async def test_what_was_adopted_before_a_mistake_is_not_paid_by_a_run_without_the_engine(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    adopt = [endpoint.make_batch(requests(["r0", "r1", "x"])), "batch-99"]
    with pytest.raises(headrace.SettingsError, match="adopt=batch-99: there is no such batch"):
        await run(endpoint, out, rows(2), BatchEngine(adopt=adopt))
    with pytest.raises(headrace.JournalError, match="may have calls"):
        await run(endpoint, out, rows(2), None)
    assert (await run(endpoint, out, rows(2))).succeeded == 2
    assert (await run(endpoint, out, rows(3), None)).succeeded == 1
    assert endpoint.billed == {"r0": 1, "r1": 1, "x": 1, "r2": 1}


async def test_a_batch_of_the_run_itself_need_not_be_adopted(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    await run(endpoint, out, rows(2), BatchEngine(detach=True))
    (id,) = endpoint.batches
    await trio.sleep(BATCH_TIME)
    result = await run(endpoint, out, rows(2), BatchEngine(adopt=[id]))
    assert (result.succeeded, endpoint.billed) == (2, {"r0": 1, "r1": 1})
