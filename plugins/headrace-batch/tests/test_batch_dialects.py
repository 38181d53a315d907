"""Runs at endpoints that speak as Azure, Mistral and Together do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import headrace
from batch_runs import client_of, errors_of, lines_of, rows, run
from headrace.bulk import DirectCalls
from headrace_batch import BatchEngine
from headrace_batch.batch_api import EndpointApi
from headrace_batch.known_dialects import dialect_of
from headrace_batch.ledger import LEDGER, read_ledger
from headrace_batch.observed_run import ObservedRun
from provider_forms import OTHER_FORMS, AzureForm, MistralForm, TogetherForm
from scripted_batches import BATCH_TIME, Accident, Killed, ScriptedBatches
from scripted_forms import OpenAIForm

pytestmark = [pytest.mark.trio, pytest.mark.usefixtures("without_threads")]
each_form = pytest.mark.parametrize("form", OTHER_FORMS, ids=lambda form: type(form).__name__)
each_unlike_form = pytest.mark.parametrize(
    "form", [AzureForm(), MistralForm(), TogetherForm()], ids=lambda form: type(form).__name__
)


def folder_of(out: Path) -> Path:
    return next(out.parent.glob(f"{out.name}.batch-*"))


@each_form
async def test_rows_of_failed_and_expired_batches_are_sent_again(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, form: OpenAIForm
) -> None:
    endpoint, out = ScriptedBatches(form=form, failures=0.4, seed=3), tmp_path / "out.jsonl"
    result = await run(endpoint, out, rows(10), BatchEngine(max_requests=4))
    assert (result.succeeded, result.failed, result.left) == (10, 0, 0)
    assert set(endpoint.billed.values()) == {1}
    assert len(endpoint.batches) > 3
    assert result.elapsed >= BATCH_TIME
    expiring = ScriptedBatches(form=form, expiring=True)
    result = await run(expiring, tmp_path / "expired.jsonl", rows(6))
    # 3 of 6 rows are answered, then 2 of 3, then the last one.
    assert (result.succeeded, len(expiring.batches), set(expiring.billed.values())) == (6, 3, {1})


@each_unlike_form
async def test_rows_that_are_never_executed_fail_with_the_endpoints_reason(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, form: OpenAIForm
) -> None:
    endpoint, out = ScriptedBatches(form=form), tmp_path / "out.jsonl"
    endpoint.lines_of = lambda content: json.dumps(form.error_line("r0", "batch_expired")).encode() + b"\n"
    result = await run(endpoint, out, rows(1))
    assert (result.failed, len(endpoint.batches)) == (1, 3)
    assert "batch_expired." in lines_of(out)["r0"]["error"]["message"]
    assert errors_of(out).keys() == {"r0"}


@each_unlike_form
@pytest.mark.parametrize(
    ("request_path", "accident", "delay"),
    [
        ("upload", "kill_after", 25.0),
        ("upload", "late", 25.0),
        ("create", "late", 25.0),
        ("create", "kill_after", 35.0),  # its file is deleted before it is listed
    ],
)
async def test_a_part_is_made_once_after_an_accident(
    autojump_clock: trio.testing.MockClock,
    tmp_path: Path,
    form: OpenAIForm,
    request_path: str,
    accident: Accident,
    delay: float,
) -> None:
    path = form.upload_path if request_path == "upload" else form.jobs

    class Accidental(ScriptedBatches):
        async def send(self, call: headrace.Call) -> headrace.Reply:
            if f"{call.request.method} {call.request.path.partition('?')[0]}" == f"POST {path}":
                self.accidents = {self.requests: accident} if not self.had else {}
                self.had = True
            return await super().send(call)

        had = False

    endpoint, out = Accidental(form=form, listing_delay=delay), tmp_path / "out.jsonl"
    if accident == "kill_after":
        with pytest.RaisesGroup(Killed, flatten_subgroups=True, allow_unwrapped=True):
            await run(endpoint, out, rows(5))
    result = await run(endpoint, out, rows(5))
    assert endpoint.had
    assert result.succeeded == 5
    assert set(endpoint.billed.values()) == {1}
    assert [batch.status for batch in endpoint.batches.values()] == ["completed"]


@each_unlike_form
async def test_batches_are_adopted_by_their_marks(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, form: OpenAIForm
) -> None:
    endpoint, out = ScriptedBatches(form=form), tmp_path / "out.jsonl"
    await run(endpoint, tmp_path / "other.jsonl", rows(3), BatchEngine(detach=True))
    left = await run(endpoint, out, rows(7), BatchEngine(max_requests=2, detach=True))
    assert isinstance(left.stopped_by, headrace.RunDetached)
    shutil.rmtree(folder_of(out))
    await trio.sleep(2 * BATCH_TIME)
    result = await run(endpoint, out, rows(7))
    assert (result.succeeded, len(endpoint.batches)) == (7, 5)


@each_unlike_form
async def test_an_adopted_batch_keeps_the_path_of_its_requests(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, form: OpenAIForm
) -> None:
    endpoint, source, out = ScriptedBatches(form=form), tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"custom_id": "r0", "url": "/v1/embeddings", "body": {"model": "m", "input": "a"}}\n')
    for _ in range(2):
        async with client_of(endpoint) as client:
            await headrace.run(client, source, out=out, engine=BatchEngine(detach=True))
        assert [part.path for part in read_ledger(folder_of(out) / LEDGER).parts.values()] == ["/embeddings"]
        shutil.rmtree(folder_of(out))
    assert len(endpoint.batches) == 1


@each_unlike_form
async def test_batches_are_cancelled_and_their_answers_fetched(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, form: OpenAIForm
) -> None:
    endpoint, out = ScriptedBatches(form=form), tmp_path / "out.jsonl"
    await run(endpoint, out, rows(3), BatchEngine(detach=True))
    async with client_of(endpoint) as client:
        (served,) = client.endpoints
        api = EndpointApi(DirectCalls(client, served), dialect_of(served))
        parts = list(read_ledger(folder_of(out) / LEDGER).parts.values())
        seen = ObservedRun(parts, {served.base_url: api})
        assert await seen.cancel() == 1
        await seen.wait(60.0, lambda text: None)
        assert "3 rows, cancel" in seen.describe()
    assert (await run(endpoint, out, rows(3))).succeeded == 3
    assert [batch.status for batch in endpoint.batches.values()] == ["cancelled", "completed"]


@each_unlike_form
async def test_a_refused_batch_is_named_and_may_be_sent_again(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, form: OpenAIForm
) -> None:
    endpoint, out = ScriptedBatches(form=form, refusal="billing"), tmp_path / "out.jsonl"
    with pytest.raises(headrace.HeadraceError, match=r"refused batch \S+ \(part 1\): .*no"):
        await run(endpoint, out, rows(3))
    endpoint.refusal = ""
    assert (await run(endpoint, out, rows(3))).succeeded == 3


@each_unlike_form
async def test_files_and_batches_become_smaller_when_they_are_refused(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, form: OpenAIForm
) -> None:
    endpoint = ScriptedBatches(form=form, max_requests=3, max_bytes=400)
    result = await run(endpoint, tmp_path / "out.jsonl", rows(12))
    assert result.succeeded == 12
    assert set(endpoint.billed.values()) == {1}
    assert max(len(batch.file.content) for batch in endpoint.batches.values()) <= 400


@each_unlike_form
async def test_a_truncated_file_is_fetched_again(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, form: OpenAIForm
) -> None:
    class Truncating(ScriptedBatches):
        downloads = 0

        def _content(self, body: bytes, id: str, query: Any) -> headrace.Reply:
            reply = super()._content(body, id, query)
            self.downloads += 1
            if self.downloads == 1:
                reply.content = b"".join(reply.content.splitlines(keepends=True)[:2])
            return reply

    endpoint = Truncating(form=form)
    result = await run(endpoint, tmp_path / "out.jsonl", rows(6))
    assert (result.succeeded, len(endpoint.batches), endpoint.downloads) == (6, 1, 2)


@each_unlike_form
async def test_a_batch_that_finds_no_room_is_created_again(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, form: OpenAIForm
) -> None:
    endpoint = ScriptedBatches(form=form, max_enqueued=6)
    result = await run(endpoint, tmp_path / "out.jsonl", rows(20), BatchEngine(max_requests=5))
    assert result.succeeded == 20
    assert set(endpoint.billed.values()) == {1}
    assert result.elapsed >= 4 * BATCH_TIME


async def test_a_batch_of_azure_that_is_larger_than_all_room_is_split(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint = ScriptedBatches(form=AzureForm(), max_enqueued=4)
    result = await run(endpoint, tmp_path / "out.jsonl", rows(12))
    assert (result.succeeded, len(endpoint.batches)) == (12, 4)


async def test_a_batch_of_azure_is_created_when_its_file_is_processed(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint = ScriptedBatches(form=AzureForm())
    await run(endpoint, tmp_path / "out.jsonl", rows(2), BatchEngine(detach=True))
    (batch,) = endpoint.batches.values()
    assert batch.created >= batch.file.ready_from


async def test_a_batch_without_metadata_is_known_by_its_file(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint = ScriptedBatches(form=TogetherForm())
    await run(endpoint, tmp_path / "out.jsonl", rows(2), BatchEngine(detach=True))
    (batch,) = endpoint.batches.values()
    assert not batch.metadata
    async with client_of(endpoint) as client:
        (served,) = client.endpoints
        api = EndpointApi(DirectCalls(client, served), dialect_of(served))
        (view,) = await api.batches()
        assert view.metadata["headrace_part"] == "1"
        await api.delete_file(batch.file.id)
        (view,) = await api.batches()
        assert (view.metadata, view.input_file) == ({}, batch.file.id)
