"""headrace: streamed answers, with the standard policies."""

from __future__ import annotations

import anyio
from benchmarks.clients.streams import Pieces
from benchmarks.measuring import KEY, MODEL, TIMEOUT, Answer, Job, Stopwatch, body
from benchmarks.policies import standard

from headrace import Client


async def run(job: Job, watch: Stopwatch) -> dict[str, float]:
    """Read the job's streams to their ends."""
    pieces, numbers = Pieces(job), iter(range(job.calls))
    async with Client(
        base_url=job.base_url,
        api_key=KEY,
        model=MODEL,
        max_in_flight=job.in_flight,
        timeout=TIMEOUT,
        policies=standard(),
    ) as client:

        async def read(number: int) -> None:
            count = 0
            messages = body(number)["messages"]
            asked = client.stream(messages, temperature=0.3, max_tokens=100)  # type: ignore[attr-defined, unused-ignore]
            async with asked as stream:
                async for piece in stream:
                    count += bool(piece.text)
            reply = stream.reply
            usage = reply.usage
            if usage is None:
                raise ValueError("a stream without token counts")
            answer = Answer(
                reply.text, usage.prompt_tokens or 0, usage.completion_tokens or 0, usage.total_tokens or 0
            )
            pieces.add(count, answer)

        async def worker() -> None:
            for number in numbers:
                await read(number)

        watch.start()
        async with anyio.create_task_group() as group:
            for _ in range(job.in_flight):
                group.start_soon(worker)
        watch.stop()
    return watch.totals(pieces.total)
