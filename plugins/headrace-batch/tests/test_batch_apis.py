"""Runs in batches over the embedded endpoint: all its APIs, and what prompts and answers can have."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

import headrace
from batch_runs import errors_of, lines_of
from headrace.bulk import Result
from headrace.testing.server import Behaviour, endpoint_process
from headrace_batch import BatchEngine

CHAT = [{"role": "user", "content": "Hello"}]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": CHAT},
    "/v1/completions": {"prompt": "Hello"},
    "/v1/responses": {"input": "Hello"},
    "/v1/embeddings": {"input": "Hello"},
}


def png(side: int) -> bytes:
    """A grey image."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    pixels = zlib.compress((b"\0" + bytes(range(side))) * side, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # batches on trio are tested in virtual time
async def test_each_api_and_each_form_of_prompts_and_answers(anyio_backend: str, tmp_path: Path) -> None:
    source = tmp_path / "requests.jsonl"
    lines = [
        {"custom_id": url, "method": "POST", "url": url, "body": {"model": "m", **body}}
        for url, body in BODIES.items()
    ]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    behaviour = Behaviour(batch_time=0.1, batch_max_bytes=10_000)
    async with (
        endpoint_process(behaviour) as endpoint,
        headrace.Client(base_url=endpoint.base_url, api_key="k", model="m", policies=[]) as client,
    ):

        async def run(rows: Any, name: str, **arguments: Any) -> Result:
            out, engine = tmp_path / f"{name}.jsonl", arguments.pop("engine", BatchEngine(poll=0.1))
            return await headrace.run(client, rows, out=out, engine=engine, **arguments)

        whole = await run(source, "whole")
        at_once = await run(source, "at-once", engine=None)
        assert (whole.succeeded, whole.prompt_tokens) == (4, at_once.prompt_tokens)
        assert [line.text for line in sorted(whole, key=lambda line: line.custom_id)] == [
            line.text for line in sorted(at_once, key=lambda line: line.custom_id)
        ]
        assert len((await client.send(headrace.Request(None, "/batches", "GET"))).body["data"]) == 4

        rows = [{"id": f"r{number}", "name": f"lamp {number}"} for number in range(4)]
        steps = [
            headrace.Step("kind", "Kind of {name}?", choices=["lamp", "chair"]),
            headrace.Step("rating", "Rate a {kind}", answer=dict[str, int], when="name != 'lamp 3'"),
        ]
        job = await run(rows, "job", steps=steps)
        assert job.succeeded == 4
        found = {line.custom_id: line.steps for line in job}
        assert found["r0"] is not None
        assert (found["r0"]["kind"], list(found["r0"]["rating"].values())) == ("lamp", [0])
        assert found["r3"] == {"kind": "lamp", "rating": None}

        votes = await run(
            rows, "votes", prompt="{name}?", choices=["lamp", "chair"], samples=3, vote=True, id_column="id"
        )
        assert [sum(line.headrace.votes.values()) for line in votes] == [3] * 4  # type: ignore[union-attr]

        vectors = await run(rows, "vectors", task="embed", column="name", dimensions=8)
        at_once = await run(rows, "v-at-once", task="embed", column="name", dimensions=8, engine=None)
        by_id = [{line.custom_id: line.vector for line in each} for each in (vectors, at_once)]
        assert by_id[0] == by_id[1]

        images = [{"id": str(side), "photo": png(side)} for side in (20, 60, 50, 40, 120, 30)]
        shown = await run(
            images, "images", prompt="{id}", image="photo", engine=BatchEngine(poll=0.1, max_bytes=10_000)
        )
        assert (shown.succeeded, errors_of(tmp_path / "images.jsonl")) == (5, {"120": "request_error"})
        assert len(base64.b64encode(png(120))) > 10_000
        message = lines_of(tmp_path / "images.jsonl")["120"]["error"]["message"]
        assert "but the file of a batch at most 10,000; make it smaller" in message
