"""headrace: a map over a generator of bodies, with the standard policies or without policies."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from benchmarks.measurement import KEY, TIMEOUT_S, Answer, Job, Stopwatch, body
from benchmarks.policies import standard_policies

from headrace import Client, Policy, Reply


async def with_policies(job: Job, watch: Stopwatch) -> None:
    """Make the job's calls with all policies of headrace[standard]."""
    await run(job, watch, standard_policies())


async def over_http1(job: Job, watch: Stopwatch) -> None:
    """The same without HTTP/2, as for an endpoint that does not support it."""
    await run(job, watch, standard_policies(), http2=False)


async def without_policies(job: Job, watch: Stopwatch) -> None:
    """Make the job's calls without policies; the difference is the cost of the policies."""
    await run(job, watch, [])


async def run(
    job: Job, watch: Stopwatch, policies: Sequence[Policy], http2: bool | Literal["auto"] = "auto"
) -> None:
    """Make the job's calls."""
    async with Client(
        base_url=job.base_url,
        api_key=KEY,
        max_in_flight=job.in_flight,
        timeout=TIMEOUT_S,
        http2=http2,
        policies=policies,
    ) as client:
        if not job.cold:
            async with client.map(bodies(1)) as outcomes:
                read_answer((await anext(outcomes)).unwrap()).check()
            watch.start()
        # Not the latency of the outcome: uvloop's clock has a resolution of a millisecond.
        began: dict[int, float] = {}
        async with client.map(timed_bodies(job.calls, began)) as outcomes:
            async for outcome in outcomes:
                watch.add(read_answer(outcome.unwrap()), time.perf_counter() - began.pop(outcome.index))
        watch.stop()


def bodies(calls: int) -> Iterator[dict[str, Any]]:
    """The bodies of the calls, created lazily."""
    return (body(number) for number in range(calls))


def timed_bodies(calls: int, began: dict[int, float]) -> Iterator[dict[str, Any]]:
    """The same; ``began`` gets the time at which each body was taken."""
    for number in range(calls):
        began[number] = time.perf_counter()
        yield body(number)


def read_answer(reply: Reply) -> Answer:
    """The answer in a reply."""
    usage = reply.usage
    if usage is None:
        raise ValueError("the answer has no token counts")
    return Answer(reply.text, usage.prompt_tokens or 0, usage.completion_tokens or 0, usage.total_tokens or 0)
