"""The cost of vendors' answers, from the bytes of a reply to USD."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from headrace.testing import Answer, FakeEndpoint
from headrace_cost import Cost

CHOICES = [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}]
# USD per million input, output, cached and cache-written tokens.
PRICES = {"m": {"input": "3", "output": "15", "cached": "0.3", "cache_write": "3.75", "cache_write_1h": "6"}}


def chat(**usage: Any) -> dict[str, Any]:
    return {"object": "chat.completion", "model": "m", "choices": CHOICES, "usage": usage}


def message(**usage: Any) -> dict[str, Any]:
    return {"type": "message", "model": "m", "content": [{"type": "text", "text": "ok"}], "usage": usage}


BILLS = {
    "openai, partly cached": (
        chat(
            prompt_tokens=10_100,
            completion_tokens=10,
            total_tokens=10_110,
            prompt_tokens_details={"cached_tokens": 10_000, "audio_tokens": 0},
            completion_tokens_details={"reasoning_tokens": 4, "audio_tokens": 0},
        ),
        "0.00345",
    ),
    "anthropic, cached tokens add to the input": (
        message(
            input_tokens=100, cache_read_input_tokens=10_000, cache_creation_input_tokens=0, output_tokens=10
        ),
        "0.00345",
    ),
    "anthropic, written to the cache": (
        message(
            input_tokens=100,
            cache_read_input_tokens=0,
            cache_creation_input_tokens=3000,
            cache_creation={"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 2000},
            output_tokens=10,
        ),
        "0.0162",
    ),
    "xai, reasoning is not part of the completion": (
        chat(
            prompt_tokens=10,
            completion_tokens=2,
            total_tokens=32,
            completion_tokens_details={"reasoning_tokens": 20},
        ),
        "0.00036",  # 22 of output
    ),
    "deepseek, hits and misses": (
        chat(
            prompt_tokens=1100,
            completion_tokens=10,
            total_tokens=1110,
            prompt_cache_hit_tokens=1000,
            prompt_cache_miss_tokens=100,
        ),
        "0.00075",
    ),
    "moonshot, cached tokens at the top level of usage": (
        chat(prompt_tokens=1100, completion_tokens=10, total_tokens=1110, cached_tokens=1000),
        "0.00075",
    ),
    "embeddings": (
        {
            "object": "list",
            "model": "m",
            "data": [{"index": 0, "embedding": [1.0]}],
            "usage": {"prompt_tokens": 8},
        },
        "0.000024",
    ),
    "all counts are null": (chat(prompt_tokens=None, completion_tokens=None, total_tokens=None), None),
    "usage is null": ({"model": "m", "choices": CHOICES, "usage": None}, None),
    "no usage": ({"model": "m", "choices": CHOICES}, None),
}


@pytest.mark.anyio
@pytest.mark.parametrize("vendor", BILLS)
async def test_answer_costs_what_the_vendor_bills(vendor: str) -> None:
    body, usd = BILLS[vendor]
    async with FakeEndpoint(Answer(body=body)).client([Cost(prices=PRICES)]) as client:
        reply = await client.request("POST", "/anything", {"model": "m", "max_tokens": 1})
    assert reply.cost == (None if usd is None else Decimal(usd))
    assert (reply.possible_cost is None) == (usd is not None)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("url", "model", "body", "usd"),
    [
        ("https://api.openai.com/v1", "gpt-4.1", {"service_tier": "priority"}, "0.0105"),
        ("https://api.openai.com/v1", "gpt-4.1", {"service_tier": "default"}, "0.006"),
        ("https://api.openai.com/v1", "gpt-4.1", {}, "0.006"),
        ("https://api.openai.com/v1", "gpt-4.1", {"service_tier": 7}, "0.006"),
        ("https://api.anthropic.com/v1", "claude-opus-5", {"usage": {"speed": "fast"}}, "0.035"),
        ("https://api.anthropic.com/v1", "claude-opus-5", {"usage": {"service_tier": "batch"}}, "0.00875"),
        ("https://api.anthropic.com/v1", "claude-opus-5", {"usage": {"service_tier": "standard"}}, "0.0175"),
    ],
)
async def test_reported_service_tier_is_billed(url: str, model: str, body: dict[str, Any], usd: str) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 500} | body.get("usage", {})
    answer = Answer(body={"model": model, "choices": CHOICES} | body | {"usage": usage})
    async with FakeEndpoint(answer).client([Cost()], base_url=url, api_key="key") as client:
        reply = await client.chat("?", model=model)
    assert reply.cost == Decimal(usd)


@pytest.mark.anyio
async def test_streamed_answer_has_the_price_of_its_tier() -> None:
    answer = Answer(
        body=b'data: {"choices":[{"index":0,"delta":{"content":"ok"},"finish_reason":"stop"}]}\n\n'
        b'data: {"choices":[],"service_tier":"priority",'
        b'"usage":{"prompt_tokens":1000,"completion_tokens":500}}\n\n'
        b"data: [DONE]\n\n"
    )
    keywords = {"base_url": "https://api.openai.com/v1", "api_key": "key"}
    async with (
        FakeEndpoint(answer).client([Cost()], **keywords) as client,
        client.stream("?", model="gpt-4.1") as stream,
    ):
        async for _ in stream:
            pass
    assert (stream.reply.service_tier, stream.reply.cost) == ("priority", Decimal("0.0105"))


@pytest.mark.anyio
async def test_budget_reserves_for_the_requested_tier() -> None:
    keywords = {"base_url": "https://api.openai.com/v1", "api_key": "key", "model": "gpt-4.1"}
    cost = Cost(budget="0.0012")
    async with FakeEndpoint().client([cost], **keywords) as client:
        await client.chat("Hallo", max_tokens=100, service_tier="flex")
    cost = Cost(budget="0.0012")
    async with FakeEndpoint().client([cost], **keywords) as client:
        with pytest.raises(Exception, match=r"may cost 0\.0017"):
            await client.chat("Hallo", max_tokens=100, service_tier="priority")
