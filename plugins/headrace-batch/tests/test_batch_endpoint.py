"""Runs over the embedded endpoint, seen by the official SDK."""

from __future__ import annotations

import json
import re
from pathlib import Path

import anyio.to_thread
import pytest

import headrace
from batch_runs import lines_of, rows
from headrace.bulk import run_identity
from headrace.testing.server import Behaviour, endpoint_process
from headrace_batch import BatchEngine

openai = pytest.importorskip("openai")


def create_batch(base_url: str, folder: Path) -> str:
    """Create a batch with the official SDK; returns its id."""
    path = folder / "requests.jsonl"
    with path.open("w") as file:
        for number in range(40, 60):
            body = {"model": "m", "messages": [{"role": "user", "content": f"r{number}"}]}
            line = {"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            print(json.dumps(line), file=file)
    with openai.OpenAI(api_key="k", base_url=base_url) as sdk:
        uploaded = sdk.files.create(file=path, purpose="batch")
        batch = sdk.batches.create(
            input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
    return str(batch.id)


@pytest.mark.anyio
async def test_the_official_sdk_reads_what_a_run_made_and_a_run_adopts_what_the_sdk_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "headrace")
    out, other = tmp_path / "out.jsonl", tmp_path / "other.jsonl"
    behaviour = Behaviour(batch_time=0.3, batch_failures=0.1, batch_expire=0.05)
    async with endpoint_process(behaviour) as endpoint:
        adopted = await anyio.to_thread.run_sync(create_batch, endpoint.base_url, tmp_path)
        client = headrace.Client(base_url=endpoint.base_url, api_key="k", model="m", policies=[])
        async with client:
            engine = BatchEngine(max_requests=20, poll=0.2)
            result = await headrace.run(
                client, rows(50), out=out, prompt="{name}", id_column="id", engine=engine
            )
            assert (result.done, result.left) == (50, 0)
            source, adopting = tmp_path / "requests.jsonl", BatchEngine(poll=0.2, adopt=[adopted])
            same = await headrace.run(client, source, out=tmp_path / "same.jsonl", engine=adopting)
            assert (same.done, same.left) == (20, 0)
            assert not re.search("differ|not rows", caplog.text)
            some = await headrace.run(
                *(client, rows(50)[35:]), out=other, prompt="{name}", id_column="id", engine=adopting
            )
            assert (some.done, some.left) == (15, 0)
            assert f"{adopted}: not rows of this session: 10 of its 20 requests (r50, r51," in caplog.text

        def read() -> tuple[list[str], set[str]]:
            sdk = openai.OpenAI(api_key="k", base_url=endpoint.base_url)
            with sdk:
                runs, ids = [], set()
                for batch in sdk.batches.list():
                    if (batch.metadata or {}).get("headrace_run") != run_identity(out).id:
                        continue
                    runs.append(batch.id)
                    input_file = sdk.files.retrieve(batch.input_file_id)
                    assert batch.metadata["headrace_digest"] in input_file.filename
                    if batch.output_file_id is not None:
                        text = sdk.files.content(batch.output_file_id).text
                        ids |= {json.loads(line)["custom_id"] for line in text.splitlines()}
                return runs, ids

        runs, ids = await anyio.to_thread.run_sync(read)
    assert len(runs) > 3
    assert ids == {id for id, line in lines_of(out).items() if line["error"] is None}
    found, again = lines_of(tmp_path / "same.jsonl"), lines_of(other)
    # Some requests of a batch fail or expire here; the other answers are those of the adopted batch.
    assert sum(found[id]["response"] == again[id]["response"] for id in found.keys() & again.keys()) > 5
