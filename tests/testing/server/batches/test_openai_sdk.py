"""The official SDK as the client of files and batches."""

from __future__ import annotations

import json
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import pytest
from tests.testing.server.batches.virtual_endpoint import CHAT, content_of, line_of

from headrace.testing.server import Behaviour, create_app, endpoint_process

openai = pytest.importorskip("openai")

pytestmark = pytest.mark.anyio

IDS = [f"row {n}" for n in range(30)]
ROWS = content_of(map(line_of, IDS))
FILE = ("in.jsonl", ROWS)
KEPT: Any = {"anchor": "created_at", "seconds": 7200}


async def test_the_async_client_uploads_waits_lists_reads_cancels_and_deletes() -> None:
    transport = httpx2.ASGITransport(create_app(Behaviour(batch_time=0.3, batch_failures=0.3)))
    http_client = httpx2.AsyncClient(transport=transport)
    async with openai.AsyncOpenAI(api_key="k", base_url="http://t/v1", http_client=http_client) as sdk:
        file = await sdk.files.create(file=FILE, purpose="batch", expires_after=KEPT)
        assert (file.bytes, file.expires_at) == (len(ROWS), file.created_at + 7200)
        assert await sdk.files.wait_for_processing(file.id) == file
        batch = await sdk.batches.create(
            input_file_id=file.id,
            endpoint=CHAT,
            completion_window="24h",
            metadata={"run": "7"},
            output_expires_after=KEPT,
        )
        while batch.status != "completed":
            await anyio.sleep(0.05)
            batch = await sdk.batches.retrieve(batch.id)
        assert batch.metadata == {"run": "7"}
        lines = []
        for id in (batch.output_file_id, batch.error_file_id):
            async with sdk.files.with_streaming_response.content(id) as response:
                lines += [json.loads(line) async for line in response.iter_lines()]
        assert sorted(line["custom_id"] for line in lines) == sorted(IDS)
        assert (
            batch.request_counts.completed + batch.request_counts.failed == batch.request_counts.total == 30
        )
        assert batch.usage.total_tokens > 0
        other = await sdk.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
        assert (await sdk.batches.cancel(other.id)).status == "cancelling"
        # Each page has one object, so the client asks for several.
        assert [each.id async for each in sdk.batches.list(limit=1)] == [other.id, batch.id]
        assert [each.id async for each in sdk.files.list(limit=1, purpose="batch")] == [file.id]
        assert (await sdk.files.delete(file.id)).deleted
        with pytest.raises(openai.NotFoundError, match="No such File object"):
            await sdk.files.content(file.id)


async def test_the_client_reads_why_a_batch_failed() -> None:
    transport = httpx2.ASGITransport(create_app(Behaviour(batch_time=0)))
    http_client = httpx2.AsyncClient(transport=transport)
    async with openai.AsyncOpenAI(api_key="k", base_url="http://t/v1", http_client=http_client) as sdk:
        file = await sdk.files.create(file=("in.jsonl", ROWS + b"{\n"), purpose="batch")
        batch = await sdk.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
        batch = await sdk.batches.retrieve(batch.id)
        assert batch.status == "failed"
        [error] = batch.errors.data
        assert (error.code, error.line) == ("invalid_json_line", 31)
        with pytest.raises(openai.BadRequestError, match="input_file_id"):
            await sdk.batches.create(input_file_id="file-x", endpoint=CHAT, completion_window="24h")
        with pytest.raises(openai.BadRequestError, match="Must be"):
            await sdk.files.create(file=("in.csv", ROWS), purpose="batch")


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_blocking_client_survives_faults_over_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def use(url: str) -> None:
        with openai.OpenAI(api_key="k", base_url=url, max_retries=20, timeout=30) as sdk:
            file = sdk.files.create(file=FILE, purpose="batch")
            batch = sdk.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
            while batch.status not in ("expired", "completed"):
                batch = sdk.batches.retrieve(batch.id)
            lines = [
                json.loads(line)
                for id in (batch.output_file_id, batch.error_file_id)
                for line in (sdk.files.content(id).text.splitlines() if id else ())
            ]
            assert sorted(line["custom_id"] for line in lines) == sorted(IDS)
            created = {each.id for each in sdk.batches.list(limit=1)}
            assert batch.id in created

    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    behaviour = Behaviour(batch_time=0.2, batch_expire=0.1, errors=0.1, faults=["500", "503", "reset"])
    async with endpoint_process(behaviour) as endpoint:
        await anyio.to_thread.run_sync(use, endpoint.base_url)
