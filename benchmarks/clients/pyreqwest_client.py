"""pyreqwest (Rust's reqwest), a semaphore, and gather."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.clients.semaphore_gather import gather_calls
from benchmarks.measurement import HEADERS, Answer, Job, Stopwatch, body
from pyreqwest.client import ClientBuilder  # type: ignore[import-not-found, unused-ignore]


async def run(job: Job, watch: Stopwatch) -> None:
    """Make the job's calls."""
    async with builder().build() as client:

        async def call(number: int) -> Answer:
            response = await client.post(job.url).body_json(body(number)).build().send()
            return Answer.of(await response.json())

        await gather_calls(job, watch, call)


def builder() -> ClientBuilder:
    """A builder with the common settings. It uses SSL_CERT_FILE, as the other clients do by default."""
    common = ClientBuilder().default_headers(HEADERS).error_for_status(True)
    certificates = os.environ.get("SSL_CERT_FILE")
    return common.add_root_certificate_pem(Path(certificates).read_bytes()) if certificates else common
