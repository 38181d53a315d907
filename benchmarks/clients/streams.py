"""How streamed answers are asked for, counted and checked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.measuring import Answer, Job, body


def streamed_body(number: int) -> dict[str, Any]:
    """A call's body that asks for a stream with the token counts at its end."""
    return body(number) | {"stream": True, "stream_options": {"include_usage": True}}


class Pieces:
    """Counts the pieces of all streams; the embedded endpoint and nginx alike send one a token."""

    def __init__(self, job: Job) -> None:
        self._text = job.text
        self.total = 0

    def add(self, pieces: int, answer: Answer) -> None:
        """Count a stream; raises ValueError where it is not what was sent."""
        answer.check()
        if pieces != answer.completion_tokens or (self._text is not None and answer.text != self._text):
            raise ValueError(f"{pieces} pieces make no right answer: {answer}")
        self.total += pieces


async def gather_streams(job: Job, read: Callable[[int], Awaitable[None]]) -> None:
    """Read the job's streams, a task for each, and a semaphore."""
    semaphore = asyncio.Semaphore(job.in_flight)

    async def one(number: int) -> None:
        async with semaphore:
            await read(number)

    await asyncio.gather(*(one(number) for number in range(job.calls)))
