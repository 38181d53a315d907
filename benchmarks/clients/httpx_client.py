"""httpx: one client with a pool for all calls in flight, a semaphore, and gather; HTTP/1.1 or HTTP/2."""

from __future__ import annotations

import httpx
from benchmarks.clients.semaphore_gather import gather_calls
from benchmarks.measurement import HEADERS, TIMEOUT_S, Answer, Job, Stopwatch, body


async def over_http1(job: Job, watch: Stopwatch) -> None:
    """Make the job's calls over HTTP/1.1."""
    await run(job, watch, http2=False)


async def over_http2(job: Job, watch: Stopwatch) -> None:
    """Make the job's calls over HTTP/2, if the server supports it."""
    await run(job, watch, http2=True)


async def run(job: Job, watch: Stopwatch, *, http2: bool) -> None:
    """Make the job's calls."""
    limits = httpx.Limits(max_connections=job.in_flight, max_keepalive_connections=job.in_flight)
    async with httpx.AsyncClient(headers=HEADERS, timeout=TIMEOUT_S, limits=limits, http2=http2) as client:

        async def call(number: int) -> Answer:
            response = await client.post(job.url, json=body(number))
            return Answer.of(response.raise_for_status().json())

        await gather_calls(job, watch, call)
