"""Calls without an event loop: one after the other, and in a pool of threads, over one httpx.Client."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
from benchmarks.measurement import HEADERS, TIMEOUT_S, Answer, Job, Stopwatch, body


def sequential(job: Job, watch: Stopwatch) -> None:
    """Make the job's calls one after the other."""

    def run_all(one: Callable[[int], None]) -> None:
        for number in range(job.calls):
            one(number)

    make_calls(job, watch, run_all)


def threads(job: Job, watch: Stopwatch) -> None:
    """Make the job's calls in as many threads as calls may be in flight."""

    def run_all(one: Callable[[int], None]) -> None:
        with ThreadPoolExecutor(job.in_flight) as pool:
            for _ in pool.map(one, range(job.calls)):
                pass

    make_calls(job, watch, run_all)


def make_calls(job: Job, watch: Stopwatch, run_all: Callable[[Callable[[int], None]], None]) -> None:
    """Make all calls: ``run_all`` gets a function that makes one call."""
    limits = httpx.Limits(max_connections=job.in_flight, max_keepalive_connections=job.in_flight)
    with httpx.Client(headers=HEADERS, timeout=TIMEOUT_S, limits=limits) as client:

        def call(number: int) -> Answer:
            return Answer.of(client.post(job.url, json=body(number)).raise_for_status().json())

        def one(number: int) -> None:
            began = time.perf_counter()
            answer = call(number)
            watch.add(answer, time.perf_counter() - began)

        if not job.cold:
            call(0).check()
            watch.start()
        run_all(one)
        watch.stop()
