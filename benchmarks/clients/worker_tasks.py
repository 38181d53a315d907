"""Many calls with structured concurrency: one worker task per call in flight, on any event loop."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import anyio
from benchmarks.measurement import Answer, Job, Stopwatch


async def run_workers(job: Job, watch: Stopwatch, call: Callable[[int], Awaitable[Answer]]) -> None:
    """Make the job's calls, after a warm-up call unless the job is cold."""
    if not job.cold:
        (await call(0)).check()
        watch.start()
    numbers = iter(range(job.calls))

    async def worker() -> None:
        for number in numbers:
            began = time.perf_counter()
            answer = await call(number)
            watch.add(answer, time.perf_counter() - began)

    async with anyio.create_task_group() as group:
        for _ in range(min(job.in_flight, job.calls)):
            group.start_soon(worker)
    watch.stop()
