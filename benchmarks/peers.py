"""One peer against one URL, in a process of its own: prints what was measured as a line of JSON.

    python benchmarks/peers.py PEER --url http://127.0.0.1:PORT/v1 [--loop uvloop] [--calls N] [--in-flight N]

The peers are called as their own documentation shows it, with as many connections as there are calls in
flight. All send the same bodies, and of every answer the text and the token counts are read.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

# A script has its own folder on the path, and not the one above, from which its neighbours are imported.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measuring import KEY, LOOPS, Answer, Stopwatch, body, on_loop

HEADERS = {"Authorization": f"Bearer {KEY}"}
TIMEOUT = 120.0


class Job(NamedTuple):
    """What a peer is to do; ``policies`` ("all" or "none") are headrace's."""

    base_url: str
    calls: int
    in_flight: int
    policies: str

    @property
    def url(self) -> str:
        """The URL of the chat completions."""
        return f"{self.base_url}/chat/completions"


async def gather(job: Job, watch: Stopwatch, call: Callable[[int], Awaitable[Answer]]) -> None:
    """Make the calls as people do on asyncio: a task for each, and a semaphore."""
    (await call(0)).check()
    semaphore = asyncio.Semaphore(job.in_flight)

    async def one(number: int) -> None:
        async with semaphore:
            began = time.perf_counter()
            answer = await call(number)
            watch.add(answer, time.perf_counter() - began)

    watch.start()
    await asyncio.gather(*(one(number) for number in range(job.calls)))
    watch.stop()


async def with_headrace(job: Job, watch: Stopwatch) -> None:
    """headrace: a map, with its four policies or none."""
    from benchmarks.policies import all_four

    from headrace import Client, Reply

    policies = all_four() if job.policies == "all" else []

    def read(reply: Reply) -> Answer:
        usage = reply.usage
        if usage is None:
            raise ValueError("an answer without token counts")
        return Answer(reply.text, usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)

    def bodies(calls: int) -> Iterator[dict[str, Any]]:
        return (body(number) for number in range(calls))

    async with Client(
        base_url=job.base_url, api_key=KEY, max_in_flight=job.in_flight, timeout=TIMEOUT, policies=policies
    ) as client:
        async with client.map(bodies(1)) as outcomes:
            read((await anext(outcomes)).unwrap()).check()
        watch.start()
        async with client.map(bodies(job.calls)) as outcomes:
            async for outcome in outcomes:
                watch.add(read(outcome.unwrap()), outcome.elapsed)
        watch.stop()


async def with_aiohttp(job: Job, watch: Stopwatch) -> None:
    """The aiohttp recipe: one session, a semaphore, gather."""
    import aiohttp  # type: ignore[import-not-found, unused-ignore]

    connector = aiohttp.TCPConnector(limit=job.in_flight)
    async with aiohttp.ClientSession(connector=connector, headers=HEADERS, raise_for_status=True) as session:

        async def call(number: int) -> Answer:
            async with session.post(job.url, json=body(number)) as response:
                return Answer.of(await response.json())

        await gather(job, watch, call)


async def with_httpx(job: Job, watch: Stopwatch) -> None:
    """httpx: one client, its pool as large as it needs to be."""
    import httpx

    limits = httpx.Limits(max_connections=job.in_flight, max_keepalive_connections=job.in_flight)
    async with httpx.AsyncClient(headers=HEADERS, timeout=TIMEOUT, limits=limits) as client:

        async def call(number: int) -> Answer:
            response = await client.post(job.url, json=body(number))
            return Answer.of(response.raise_for_status().json())

        await gather(job, watch, call)


async def with_openai(job: Job, watch: Stopwatch) -> None:
    """The official SDK as it comes, less its retries."""
    import openai  # type: ignore[import-not-found, unused-ignore]

    async with openai.AsyncOpenAI(
        api_key=KEY, base_url=job.base_url, max_retries=0, timeout=TIMEOUT
    ) as client:

        async def call(number: int) -> Answer:
            reply: Any = await client.chat.completions.create(**body(number))
            text, usage = reply.choices[0].message.content, reply.usage
            return Answer(text, usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)

        await gather(job, watch, call)


async def with_pyreqwest(job: Job, watch: Stopwatch) -> None:
    """pyreqwest: Rust's reqwest."""
    from pyreqwest.client import ClientBuilder  # type: ignore[import-not-found, unused-ignore]

    async with ClientBuilder().default_headers(HEADERS).error_for_status(True).build() as client:

        async def call(number: int) -> Answer:
            response = await client.post(job.url).body_json(body(number)).build().send()
            return Answer.of(await response.json())

        await gather(job, watch, call)


PEERS: dict[str, Callable[[Job, Stopwatch], Awaitable[None]]] = {
    "headrace": with_headrace,
    "aiohttp": with_aiohttp,
    "httpx": with_httpx,
    "openai": with_openai,
    "pyreqwest": with_pyreqwest,
}


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(prog="benchmarks/peers.py", description="Measure one peer, once.")
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--url", required=True, help="base URL, ending in /v1")
    parser.add_argument("--loop", choices=LOOPS, default="asyncio")
    parser.add_argument("--calls", type=int, default=20_000, help="(%(default)s)")
    parser.add_argument("--in-flight", type=int, default=100, help="(%(default)s)")
    parser.add_argument("--policies", choices=("all", "none"), default="all", help="headrace's (%(default)s)")
    asked = parser.parse_args()
    watch = Stopwatch()
    on_loop(
        asked.loop, PEERS[asked.peer], Job(asked.url, asked.calls, asked.in_flight, asked.policies), watch
    )
    print(json.dumps(watch.figures()))


if __name__ == "__main__":
    main()
