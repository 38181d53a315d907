"""Runs over the embedded endpoint, seen by the official SDK."""

from __future__ import annotations

import json
from pathlib import Path

import anyio.to_thread
import pytest

import headrace
from batch_runs import lines_of, rows
from headrace.testing.server import Behaviour, endpoint_process
from headrace_batch import BatchEngine

openai = pytest.importorskip("openai")


@pytest.mark.anyio
async def test_the_official_sdk_lists_and_reads_what_a_run_made(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    behaviour = Behaviour(batch_time=0.3, batch_failures=0.1, batch_expire=0.05)
    async with endpoint_process(behaviour) as endpoint:
        client = headrace.Client(base_url=endpoint.base_url, api_key="k", model="m", policies=[])
        async with client:
            engine = BatchEngine(max_requests=20, poll=0.2)
            result = await headrace.run(
                client, rows(50), out=out, prompt="{name}", id_column="id", engine=engine
            )
        assert (result.done, result.left) == (50, 0)

        def read() -> tuple[list[str], set[str]]:
            sdk = openai.OpenAI(api_key="k", base_url=endpoint.base_url)
            with sdk:
                runs, ids = [], set()
                for batch in sdk.batches.list():
                    runs.append(batch.metadata["headrace_run"])
                    input_file = sdk.files.retrieve(batch.input_file_id)
                    assert batch.metadata["headrace_digest"] in input_file.filename
                    if batch.output_file_id is not None:
                        text = sdk.files.content(batch.output_file_id).text
                        ids |= {json.loads(line)["custom_id"] for line in text.splitlines()}
                return runs, ids

        runs, ids = await anyio.to_thread.run_sync(read)
    assert len(runs) > 3
    assert len(set(runs)) == 1
    assert ids == {id for id, line in lines_of(out).items() if line["error"] is None}
