"""Requests for streams, and how their chunks are counted and checked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.measurement import Answer, Job, body


def streamed_body(number: int) -> dict[str, Any]:
    """A call's body that asks for a stream with the token counts at its end."""
    return body(number) | {"stream": True, "stream_options": {"include_usage": True}}


class ChunkCounter:
    """Counts the chunks of all streams. Both the embedded endpoint and nginx send one chunk per token."""

    def __init__(self, job: Job) -> None:
        self._text = job.text
        self.total = 0

    def add(self, chunks: int, answer: Answer) -> None:
        """Count a stream; raises ValueError if it is not what was sent."""
        answer.check()
        if chunks != answer.completion_tokens or (self._text is not None and answer.text != self._text):
            raise ValueError(f"a stream of {chunks} chunks is not as expected: {answer}")
        self.total += chunks


async def gather_streams(job: Job, read: Callable[[int], Awaitable[None]]) -> None:
    """Read the job's streams with one task per stream and a semaphore."""
    semaphore = asyncio.Semaphore(job.in_flight)

    async def read_one(number: int) -> None:
        async with semaphore:
            await read(number)

    await asyncio.gather(*(read_one(number) for number in range(job.calls)))
