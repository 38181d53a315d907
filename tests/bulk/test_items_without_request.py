"""Items that no request can be made for: each fails alone, without a call."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

import headrace
from headrace import Client
from headrace.bulk import BulkRun, Journal, LocalExecutor, Source, Summary, Task, item_result, run
from headrace.bulk.pending_results import PendingResults
from headrace.calls import Outcome
from headrace.errors import ConnectError, InputError
from headrace.testing import FakeEndpoint
from headrace.testing.server import endpoint_process
from headrace.wire.error_scope import shared_error

pytestmark = pytest.mark.anyio

Lines = Callable[[Path], list[dict[str, Any]]]
ROWS = 60


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """Rows of which each third has no text."""
    rows = [{"id": f"Q{n}"} | ({} if n % 3 == 0 else {"text": f"Question {n}"}) for n in range(ROWS)]
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def check(summary: Summary, lines: list[dict[str, Any]]) -> None:
    assert (summary.succeeded, summary.failures, summary.left) == (40, {"input_error": 20}, 0)
    failed = {line["custom_id"]: line for line in lines if line["error"]}
    assert failed.keys() == {f"Q{n}" for n in range(0, ROWS, 3)}
    assert failed["Q3"]["error"] == {
        "code": "input_error",
        "message": "questions.jsonl:4: no column 'text' for the prompt; known: id",
    }
    for line in failed.values():
        assert (line["response"], line["headrace"]["attempts"]) == (None, 0)
    assert {line["custom_id"] for line in lines} == {f"Q{n}" for n in range(ROWS)}
    assert len(lines) == ROWS


async def test_each_of_them_fails_alone(
    questions: Path, read_lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(questions.parent)
    endpoint, out = FakeEndpoint(), questions.with_name("out.jsonl")
    async with endpoint.client(max_in_flight=4) as client:
        summary = await run(client, questions.name, prompt="{text}", out=out, on_missing="fail-row")
    check(summary, read_lines(out))
    assert len(endpoint.attempts) == 40


async def test_each_of_them_fails_alone_with_processes(
    questions: Path, read_lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(questions.parent)
    out = questions.with_name("out.jsonl")
    async with endpoint_process() as endpoint:
        make_client = functools.partial(Client, base_url=endpoint.base_url, policies=[], model="m")
        summary = await run(
            *(make_client, questions.name), prompt="{text}", out=out, on_missing="fail-row", processes=2
        )
    check(summary, read_lines(out))


async def test_a_run_of_only_such_items_ends_without_a_call(products: Path) -> None:
    endpoint, out = FakeEndpoint(), products.with_name("out.jsonl")
    async with endpoint.client() as client:
        summary = await run(client, products, prompt="{nmae}", out=out, on_missing="fail-row")
    assert (summary.failures, summary.left, endpoint.attempts) == ({"input_error": 10}, 0, [])


async def test_a_run_of_only_such_items_ends_without_a_call_in_processes(products: Path) -> None:
    unreachable = functools.partial(Client, base_url="http://127.0.0.1:9/v1", policies=[], model="m")
    keywords: dict[str, Any] = {"out": products.with_name("out.jsonl"), "on_missing": "fail-row"}
    summary = await run(unreachable, products, prompt="{nmae}", processes=2, **keywords)
    assert (summary.failures, summary.left) == ({"input_error": 10}, 0)


async def test_without_on_missing_nothing_is_sent(questions: Path) -> None:
    endpoint, out = FakeEndpoint(), questions.with_name("out.jsonl")
    async with endpoint.client() as client:
        with pytest.raises(InputError, match=r"questions\.jsonl:1: no column 'text' for the prompt"):
            await run(client, questions, prompt="{text}", out=out)
    assert not endpoint.attempts
    assert not out.exists()


async def test_they_are_tried_again_with_retry_failed(questions: Path, read_lines: Lines) -> None:
    endpoint, out = FakeEndpoint(), questions.with_name("out.jsonl")
    broken = True

    def prompt(row: Mapping[str, Any]) -> str:
        if broken:
            raise LookupError("no dictionary")
        return str(row["id"])

    async with endpoint.client() as client:
        summary = await run(client, questions, prompt=prompt, out=out)
        assert (summary.failed, summary.left) == (ROWS, 0)
        broken = False
        summary = await run(client, questions, prompt=prompt, out=out, retry_failed=True)
    assert (summary.succeeded, summary.left, len(endpoint.attempts)) == (ROWS, 0, ROWS)
    assert all(request.fresh for request in endpoint.attempts)


async def test_many_of_them_leave_turns_to_other_tasks(tmp_path: Path) -> None:
    path, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    path.write_text('{"a": 1}\n' * 2000)
    task = Task(Source(path), "{b}", "m", on_missing="fail-row")
    with Journal(out, task.fingerprint()) as journal:
        bulk = BulkRun(task, journal, 2000)
        async with FakeEndpoint().client(max_in_flight=2) as client, anyio.create_task_group() as group:

            async def stop_soon() -> None:
                while bulk.summary.failed == 0:
                    await anyio.lowlevel.checkpoint()
                bulk.stop()

            group.start_soon(stop_soon)
            await bulk.perform(LocalExecutor(client))
    assert 0 < bulk.summary.failed < 2000
    assert bulk.summary.stopped_by == "interrupt"


async def test_their_results_say_nothing_about_the_endpoint() -> None:
    pending = PendingResults()
    outage = Outcome(0, None, None, ConnectError("refused"))
    mistake = Outcome(1, None, None, InputError("rows.csv:2: bad"))
    assert shared_error(InputError("rows.csv:2: bad")) is None
    assert pending.add([item_result(0, "a", outage, ())]) == []
    later = pending.begin()
    written = pending.add([item_result(1, "b", mistake, ())])
    assert [result.index for result in written] == [1]
    answered = Outcome(2, None, headrace.Reply(200, headrace.Headers([]), b"{}"), None)
    last = item_result(2, "c", answered, ())
    last.number = later
    written = pending.add([last])
    assert [result.index for result in written] == [0, 2]
