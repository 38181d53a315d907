"""headrace: streamed answers, with the standard policies."""

from __future__ import annotations

import anyio
from benchmarks.clients.streams import ChunkCounter
from benchmarks.measurement import KEY, MODEL, TIMEOUT_S, Answer, Job, Stopwatch, body
from benchmarks.policies import standard_policies

from headrace import Client


async def run(job: Job, watch: Stopwatch) -> dict[str, float]:
    """Read the job's streams completely."""
    chunks, numbers = ChunkCounter(job), iter(range(job.calls))
    async with Client(
        base_url=job.base_url,
        api_key=KEY,
        model=MODEL,
        max_in_flight=job.in_flight,
        timeout=TIMEOUT_S,
        policies=standard_policies(),
    ) as client:

        async def read(number: int) -> None:
            count = 0
            messages = body(number)["messages"]
            stream_call = client.stream(messages, temperature=0.3, max_tokens=100)  # type: ignore[attr-defined, unused-ignore]
            async with stream_call as stream:
                async for chunk in stream:
                    count += bool(chunk.text)
            reply = stream.reply
            usage = reply.usage
            if usage is None:
                raise ValueError("the stream has no token counts")
            answer = Answer(
                reply.text, usage.prompt_tokens or 0, usage.completion_tokens or 0, usage.total_tokens or 0
            )
            chunks.add(count, answer)

        async def worker() -> None:
            for number in numbers:
                await read(number)

        watch.start()
        async with anyio.create_task_group() as group:
            for _ in range(job.in_flight):
                group.start_soon(worker)
        watch.stop()
    return watch.totals(chunks.total)
