"""Calls that an SDK makes through headrace are traced like other calls."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.testing.server import endpoint_process
from telemetry import Telemetry, attributes

KEY = "sk-canary-0123456789abcdef"


# About the SDK's own generators: trio warns if they are not read to the end.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.anyio
@pytest.mark.parametrize("streamed", [False, True])
async def test_calls_of_an_sdk_through_headrace_are_traced(telemetry: Telemetry, streamed: bool) -> None:
    pytest.importorskip("uvicorn")
    openai = pytest.importorskip("openai")
    async_client = pytest.importorskip("headrace.integrations.httpx2").async_client
    async with (
        endpoint_process() as endpoint,
        async_client(policies=[telemetry.policy()]) as http,
        openai.AsyncOpenAI(base_url=endpoint.base_url, api_key=KEY, http_client=http, max_retries=0) as sdk,
    ):
        parameters: Any = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0.5}
        if streamed:
            async for _ in await sdk.chat.completions.create(
                **parameters, stream=True, stream_options={"include_usage": True}
            ):
                pass
        else:
            await sdk.chat.completions.create(**parameters)
    exported = attributes(telemetry.span)
    assert telemetry.span.name == "chat m"
    assert exported["gen_ai.request.temperature"] == 0.5
    assert exported["gen_ai.usage.output_tokens"] > 0
    assert exported.get("gen_ai.request.stream", False) is streamed
    assert KEY not in telemetry.everything()
