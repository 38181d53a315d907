"""Batches that wait until the endpoint has room for their tokens."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import trio.testing

from batch_runs import rows, run
from headrace.plugins import estimate_prompt_tokens
from headrace_batch import BatchEngine
from scripted_batches import ScriptedBatches

pytestmark = [pytest.mark.trio, pytest.mark.usefixtures("without_threads")]


async def test_batches_wait_until_their_tokens_have_room(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    body = {"model": "m", "messages": [{"role": "user", "content": "r0"}]}
    of_row = estimate_prompt_tokens(msgspec.json.encode(body))
    first = BatchEngine(max_tokens=5 * of_row, max_requests=2, detach=True)
    await run(endpoint, out, rows(8)[6:], first)
    result = await run(endpoint, out, rows(8), BatchEngine(max_tokens=5 * of_row))
    assert (result.succeeded, set(endpoint.billed.values())) == (8, {1})
    sizes = {id: batch.file.content.count(b"\n") for id, batch in endpoint.batches.items()}
    assert sorted(sizes.values()) == [1, 2, 5]
    for batch in endpoint.batches.values():
        beside = [
            sizes[other.id]
            for other in endpoint.batches.values()
            if other.created <= batch.created and (other.ended or 0) > batch.created
        ]
        assert sum(beside) <= 5
