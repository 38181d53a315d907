"""httpx: one client, its pool as large as it needs to be, a semaphore, gather; HTTP/1.1 or HTTP/2."""

from __future__ import annotations

import httpx
from benchmarks.clients.semaphore_gather import gather
from benchmarks.measuring import HEADERS, TIMEOUT, Answer, Job, Stopwatch, body


async def over_http1(job: Job, watch: Stopwatch) -> None:
    """Make the job's calls as httpx comes."""
    await run(job, watch, http2=False)


async def over_http2(job: Job, watch: Stopwatch) -> None:
    """Make the job's calls over HTTP/2, where the server chooses it."""
    await run(job, watch, http2=True)


async def run(job: Job, watch: Stopwatch, *, http2: bool) -> None:
    """Make the job's calls."""
    limits = httpx.Limits(max_connections=job.in_flight, max_keepalive_connections=job.in_flight)
    async with httpx.AsyncClient(headers=HEADERS, timeout=TIMEOUT, limits=limits, http2=http2) as client:

        async def call(number: int) -> Answer:
            response = await client.post(job.url, json=body(number))
            return Answer.of(response.raise_for_status().json())

        await gather(job, watch, call)
