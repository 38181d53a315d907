"""The usual way to make many calls on asyncio: one task per call, and a semaphore."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from benchmarks.measurement import Answer, Job, Stopwatch


async def gather_calls(job: Job, watch: Stopwatch, call: Callable[[int], Awaitable[Answer]]) -> None:
    """Make the job's calls, after a warm-up call unless the job is cold."""
    if not job.cold:
        (await call(0)).check()
        watch.start()
    semaphore = asyncio.Semaphore(job.in_flight)

    async def one(number: int) -> None:
        async with semaphore:
            began = time.perf_counter()
            answer = await call(number)
            watch.add(answer, time.perf_counter() - began)

    await asyncio.gather(*(one(number) for number in range(job.calls)))
    watch.stop()
