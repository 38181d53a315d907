"""The official SDKs of Azure and Mistral read what a run made at scripted endpoints of their form."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio.testing

from batch_runs import lines_of, rows, run
from headrace_batch import BatchEngine
from provider_forms import AzureForm, MistralForm
from scripted_batches import ScriptedBatches

pytestmark = [pytest.mark.trio, pytest.mark.usefixtures("without_threads")]


def handled_by(endpoint: ScriptedBatches, http: Any) -> Callable[[Any], Any]:
    """A handler for a mock transport of httpx or httpx2."""
    base = endpoint.form.endpoint.base_url

    def answer(request: Any) -> Any:
        url = str(request.url)
        assert url.startswith(base)
        reply = endpoint.answer(request.method, url.removeprefix(base), request.content)
        headers = {"content-type": reply.headers["content-type"]}
        return http.Response(reply.status, content=reply.content, headers=headers)

    return answer


async def test_the_sdk_for_azure_reads_and_cancels_what_a_run_made(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    openai, httpx2 = pytest.importorskip("openai"), pytest.importorskip("httpx2")
    endpoint, out = ScriptedBatches(form=AzureForm()), tmp_path / "out.jsonl"
    await run(endpoint, out, rows(3))
    await run(endpoint, tmp_path / "second.jsonl", rows(2), BatchEngine(detach=True))
    with openai.AzureOpenAI(
        azure_endpoint="https://shop.openai.azure.com",
        api_version="2024-10-21",
        api_key="key",
        http_client=httpx2.Client(transport=httpx2.MockTransport(handled_by(endpoint, httpx2))),
    ) as sdk:
        running, ended = sdk.batches.list()
        assert ended.metadata["headrace_digest"] in sdk.files.retrieve(ended.input_file_id).filename
        answers = sdk.files.content(ended.output_file_id).text
        assert {json.loads(line)["custom_id"] for line in answers.splitlines()} == set(lines_of(out))
        assert sdk.batches.cancel(running.id).status == "cancelling"


async def test_the_sdk_of_mistral_reads_and_cancels_what_a_run_made(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    mistralai, httpx = pytest.importorskip("mistralai.client"), pytest.importorskip("httpx")
    endpoint, out = ScriptedBatches(form=MistralForm(), failures=0.5, seed=1), tmp_path / "out.jsonl"
    await run(endpoint, out, rows(4), BatchEngine(stragglers="sync"))
    await run(endpoint, tmp_path / "second.jsonl", rows(2), BatchEngine(detach=True))
    client = httpx.Client(transport=httpx.MockTransport(handled_by(endpoint, httpx)))
    with mistralai.Mistral(api_key="key", server_url="https://api.mistral.ai", client=client) as sdk:
        running, ended = sdk.batch.jobs.list().data or []
        assert (running.status, ended.status, ended.total_requests) == ("RUNNING", "SUCCESS", 4)
        assert ended.metadata
        (file,) = ended.input_files
        assert ended.metadata["headrace_digest"] in sdk.files.retrieve(file_id=file).filename
        assert {each.purpose for each in sdk.files.list(purpose="batch").data} >= {"batch"}
        results = b"".join(
            sdk.files.download(file_id=id).read() for id in (ended.output_file, ended.error_file) if id
        )
        assert {json.loads(line)["custom_id"] for line in results.splitlines()} == set(lines_of(out))
        assert sdk.batch.jobs.cancel(job_id=running.id).status == "CANCELLATION_REQUESTED"
