"""The usual aiohttp recipe: one session, a semaphore, and gather."""

from __future__ import annotations

import json

import aiohttp  # type: ignore[import-not-found, unused-ignore]
from benchmarks.clients.semaphore_gather import gather_calls
from benchmarks.clients.streams import ChunkCounter, gather_streams, streamed_body
from benchmarks.measurement import HEADERS, Answer, Job, Stopwatch, body


def session(job: Job) -> aiohttp.ClientSession:
    """A session whose connector holds as many connections as calls are in flight."""
    connector = aiohttp.TCPConnector(limit=job.in_flight)
    return aiohttp.ClientSession(connector=connector, headers=HEADERS, raise_for_status=True)


async def calls(job: Job, watch: Stopwatch) -> None:
    """Make the job's calls."""
    async with session(job) as client:

        async def call(number: int) -> Answer:
            async with client.post(job.url, json=body(number)) as response:
                return Answer.of(await response.json())

        await gather_calls(job, watch, call)


async def streams(job: Job, watch: Stopwatch) -> dict[str, float]:
    """Read the job's streams line by line."""
    chunks = ChunkCounter(job)
    async with session(job) as client:

        async def read(number: int) -> None:
            texts: list[str] = []
            usage = None
            async with client.post(job.url, json=streamed_body(number)) as response:
                async for line in response.content:
                    if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                        continue
                    chunk = json.loads(line[6:])
                    usage = chunk["usage"] or usage
                    texts_of_chunk = (choice["delta"].get("content") for choice in chunk["choices"])
                    texts += filter(None, texts_of_chunk)
            reply = {"choices": [{"message": {"content": "".join(texts)}}], "usage": usage}
            chunks.add(len(texts), Answer.of(reply))

        watch.start()
        await gather_streams(job, read)
        watch.stop()
    return watch.totals(chunks.total)
