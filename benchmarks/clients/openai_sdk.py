"""The official SDK without retries: with its default client, over aiohttp, and over headrace."""

from __future__ import annotations

import importlib
from typing import Any

import httpx
import openai  # type: ignore[import-not-found, unused-ignore]
from benchmarks.clients.semaphore_gather import gather_calls
from benchmarks.clients.streams import ChunkCounter, gather_streams, streamed_body
from benchmarks.measurement import KEY, TIMEOUT_S, Answer, Job, Stopwatch, body
from benchmarks.policies import standard_policies


async def calls(job: Job, watch: Stopwatch) -> None:
    """Make the job's calls."""
    await make_calls(job, watch, None)


async def calls_over_aiohttp(job: Job, watch: Stopwatch) -> None:
    """Make the job's calls with the SDK's client for aiohttp."""
    await make_calls(job, watch, openai.DefaultAioHttpClient())


async def calls_over_headrace(job: Job, watch: Stopwatch) -> None:
    """Make the job's calls with headrace as HTTP client, with the standard policies."""
    library = "httpx" if issubclass(openai.DefaultAsyncHttpxClient, httpx.AsyncClient) else "httpx2"
    integration = importlib.import_module(f"headrace.integrations.{library}")
    http_client = integration.async_client(policies=standard_policies(), max_in_flight=job.in_flight)
    await make_calls(job, watch, http_client)


async def streams(job: Job, watch: Stopwatch) -> dict[str, float]:
    """Read the job's streams."""
    return await read_streams(job, watch, None)


async def streams_over_aiohttp(job: Job, watch: Stopwatch) -> dict[str, float]:
    """Read the job's streams with the SDK's client for aiohttp."""
    return await read_streams(job, watch, openai.DefaultAioHttpClient())


def sdk(job: Job, http_client: Any) -> Any:
    """The SDK's client."""
    return openai.AsyncOpenAI(
        api_key=KEY, base_url=job.base_url, max_retries=0, timeout=TIMEOUT_S, http_client=http_client
    )


async def make_calls(job: Job, watch: Stopwatch, http_client: Any) -> None:
    """Make the job's calls: a task for each, and a semaphore."""
    async with sdk(job, http_client) as client:

        async def call(number: int) -> Answer:
            reply = await client.chat.completions.create(**body(number))
            text, usage = reply.choices[0].message.content, reply.usage
            return Answer(text, usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)

        await gather_calls(job, watch, call)


async def read_streams(job: Job, watch: Stopwatch, http_client: Any) -> dict[str, float]:
    """Read the job's streams: a task for each, and a semaphore."""
    chunks = ChunkCounter(job)
    async with sdk(job, http_client) as client:

        async def read(number: int) -> None:
            texts: list[str] = []
            usage: Any = None
            async for chunk in await client.chat.completions.create(**streamed_body(number)):
                usage = chunk.usage or usage
                texts += filter(None, (choice.delta.content for choice in chunk.choices))
            counts = usage.prompt_tokens, usage.completion_tokens, usage.total_tokens
            chunks.add(len(texts), Answer("".join(texts), *counts))

        watch.start()
        await gather_streams(job, read)
        watch.stop()
    return watch.totals(chunks.total)
