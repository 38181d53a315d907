"""headrace: a map over a generator of bodies, with the standard policies or none."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from benchmarks.measuring import KEY, TIMEOUT, Answer, Job, Stopwatch, body
from benchmarks.policies import standard

from headrace import Client, Policy, Reply


async def with_policies(job: Job, watch: Stopwatch) -> None:
    """All policies of headrace[standard]."""
    await run(job, watch, standard())


async def over_http1(job: Job, watch: Stopwatch) -> None:
    """The same without HTTP/2, which is what an endpoint that does not speak it gets."""
    await run(job, watch, standard(), http2=False)


async def without_policies(job: Job, watch: Stopwatch) -> None:
    """The bare client: the difference is what the policies cost."""
    await run(job, watch, [])


async def run(
    job: Job, watch: Stopwatch, policies: Sequence[Policy], http2: bool | Literal["auto"] = "auto"
) -> None:
    """Make the job's calls."""
    async with Client(
        base_url=job.base_url,
        api_key=KEY,
        max_in_flight=job.in_flight,
        timeout=TIMEOUT,
        http2=http2,
        policies=policies,
    ) as client:
        if not job.cold:
            async with client.map(bodies(1)) as outcomes:
                read((await anext(outcomes)).unwrap()).check()
            watch.start()
        # Not the outcome's own time: uvloop's clock goes in steps of a millisecond.
        began: dict[int, float] = {}
        async with client.map(drawn(job.calls, began)) as outcomes:
            async for outcome in outcomes:
                watch.add(read(outcome.unwrap()), time.perf_counter() - began.pop(outcome.index))
        watch.stop()


def bodies(calls: int) -> Iterator[dict[str, Any]]:
    """A body for each call, made when it is drawn."""
    return (body(number) for number in range(calls))


def drawn(calls: int, began: dict[int, float]) -> Iterator[dict[str, Any]]:
    """The same, and when each was drawn."""
    for number in range(calls):
        began[number] = time.perf_counter()
        yield body(number)


def read(reply: Reply) -> Answer:
    """What is read of a reply."""
    usage = reply.usage
    if usage is None:
        raise ValueError("an answer without token counts")
    return Answer(reply.text, usage.prompt_tokens or 0, usage.completion_tokens or 0, usage.total_tokens or 0)
