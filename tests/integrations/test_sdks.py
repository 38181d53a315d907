"""Current SDKs from the package index, with headrace as their HTTP client.

openai 3 uses httpx2, and openai 2 uses httpx; the installed one is tested.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from headrace import Call, Reply, Send, Stage, Usage
from headrace.integrations import httpx as for_httpx
from headrace.integrations import httpx2 as for_httpx2
from headrace.testing.server import Behaviour, endpoint_process
from headrace_cost import Cost
from headrace_retry import Retry

if TYPE_CHECKING:
    from tests.transports.conftest import Peer, Serve

openai = pytest.importorskip("openai")

pytestmark = pytest.mark.anyio

# About the SDKs' own generators: trio warns if they are not read to the end.
leaves_generators = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

MODEL = "deepseek-v3.2"
HALLO: Any = [{"role": "user", "content": "Hallo"}]
QUICK = Retry(attempts=6, base=0.001)

_ON_HTTPX = issubclass(openai.DefaultAsyncHttpxClient, httpx.AsyncClient)
async_client: Callable[..., Any] = for_httpx.async_client if _ON_HTTPX else for_httpx2.async_client


def client_of(url: str, **options: Any) -> Any:
    """openai's client over headrace."""
    http_client = async_client(**({"policies": []} | options.pop("through", {})))
    return openai.AsyncOpenAI(
        **({"max_retries": 0} | options), api_key="k", base_url=url, http_client=http_client
    )


async def test_openai_chats_streams_embeds_and_lists_through_faults() -> None:
    cost = Cost()
    behaviour = Behaviour(errors=0.3, faults=["500", "503", "reset"], seed=7)
    async with (
        endpoint_process(behaviour) as endpoint,
        client_of(endpoint.base_url, through={"policies": [QUICK, cost]}) as client,
    ):
        for number in range(20):
            completion = await client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": f"Question {number}"}]
            )
            assert completion.choices[0].message.content
            assert completion.usage.total_tokens > 0
        raw = await client.chat.completions.with_raw_response.create(model=MODEL, messages=HALLO)
        assert (raw.status_code, raw.parse().model) == (200, MODEL)
        assert (await client.embeddings.create(model="e", input=["a", "b"])).data[1].index == 1
        assert (await client.models.list()).data
    assert cost.totals.by_model[MODEL].calls == 21
    assert cost.totals.cost > 0


@leaves_generators
async def test_openai_streams_and_the_cost_is_known_at_the_end() -> None:
    cost = Cost()
    async with (
        endpoint_process() as endpoint,
        client_of(endpoint.base_url, through={"policies": [cost]}) as client,
    ):
        whole = (await client.chat.completions.create(model=MODEL, messages=HALLO)).choices[0].message.content
        before = cost.totals.completion_tokens
        stream = await client.chat.completions.create(
            model=MODEL, messages=HALLO, stream=True, stream_options={"include_usage": True}
        )
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
        assert ("".join(pieces), len(pieces) > 1) == (whole, True)
        assert cost.totals.completion_tokens == 2 * before


@leaves_generators
async def test_openai_leaves_a_stream_early_and_continues() -> None:
    async with endpoint_process() as endpoint, client_of(endpoint.base_url) as client:
        early = await client.chat.completions.create(model=MODEL, messages=HALLO, stream=True)
        async for _ in early:
            break
        await early.close()
        assert (await client.chat.completions.create(model=MODEL, messages=HALLO)).choices


async def test_openai_raises_its_usual_exceptions(serve: Serve) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(
            b'{"error": {"message": "slow down", "code": "rate_limit"}}', "X-Request-Id: r1", status="429 No"
        )
        await peer.request()
        await peer.close()

    async def say_nothing(peer: Peer) -> None:
        while await peer.request():
            pass

    async with serve(script) as server, client_of(server.url) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(model=MODEL, messages=HALLO)
        assert (caught.value.status_code, caught.value.code) == (429, "rate_limit")
        assert (caught.value.request_id, caught.value.body["message"]) == ("r1", "slow down")
        with pytest.raises(openai.APIConnectionError):
            await client.chat.completions.create(model=MODEL, messages=HALLO)
    async with serve(say_nothing) as server, client_of(server.url) as client:
        with anyio.fail_after(5), pytest.raises(openai.APITimeoutError):
            await client.with_options(timeout=0.1).chat.completions.create(model=MODEL, messages=HALLO)
        with anyio.move_on_after(0.1) as scope:
            await client.chat.completions.create(model=MODEL, messages=HALLO)
        assert scope.cancelled_caught
        await server.until(lambda: server.open == 0)


async def test_openais_retries_around_headraces_cause_a_warning(serve: Serve) -> None:
    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.answer(b"{}", "retry-after-ms: 1", status="500 No")

    through = {"policies": [Retry(attempts=2, base=0.001)]}
    async with serve(script) as server, client_of(server.url, through=through, max_retries=1) as client:
        with pytest.warns(RuntimeWarning, match="max_retries=0"), pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model=MODEL, messages=HALLO)
        assert len(server.requests) == 4


MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [{"type": "text", "text": "Gruss"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 9, "output_tokens": 3},
}


@leaves_generators
async def test_anthropic_chats_streams_and_raises_its_usual_exceptions(serve: Serve) -> None:
    anthropic = pytest.importorskip("anthropic")
    start: dict[str, Any] = MESSAGE | {"content": [], "usage": {"input_tokens": 9, "output_tokens": 1}}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Gruss"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    ]
    streamed = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)

    async def script(peer: Peer) -> None:
        while seen := await peer.request():
            body = json.loads(seen.body)
            if body["model"] == "unknown":
                error = {"type": "error", "error": {"type": "not_found_error", "message": "no such model"}}
                await peer.answer(json.dumps(error).encode(), status="404 No")
            elif body.get("stream"):
                await peer.answer(streamed.encode(), "Content-Type: text/event-stream")
            else:
                await peer.answer(json.dumps(MESSAGE).encode(), "Content-Type: application/json")

    cost = Cost(prices={"claude-x": {"input": 1, "output": 1}})
    parameters: dict[str, Any] = {"model": "claude-x", "max_tokens": 9, "messages": HALLO}
    async with serve(script) as server:
        client = anthropic.AsyncAnthropic(
            api_key="k",
            base_url=server.url.removesuffix("/v1"),
            http_client=for_httpx2.async_client(policies=[cost]),
            max_retries=0,
        )
        async with client:
            assert (await client.messages.create(**parameters)).content[0].text == "Gruss"
            async with client.messages.stream(**parameters) as stream:
                assert [text async for text in stream.text_stream] == ["Gruss"]
            with pytest.raises(anthropic.NotFoundError, match="no such model"):
                await client.messages.create(**parameters | {"model": "unknown"})
        assert server.requests[0].headers["authorization"] == "Bearer k"
    assert (cost.totals.calls, cost.totals.prompt_tokens, cost.totals.completion_tokens) == (2, 18, 6)


CACHED = {"input_tokens": 100, "cache_read_input_tokens": 10_000, "cache_creation_input_tokens": 0}
WRITTEN = {
    "input_tokens": 100,
    "cache_read_input_tokens": 0,
    "cache_creation_input_tokens": 3_000,
    "cache_creation": {"ephemeral_5m_input_tokens": 1_000, "ephemeral_1h_input_tokens": 2_000},
}


@leaves_generators
@pytest.mark.parametrize(
    ("beginning", "end", "counted"),
    [
        (CACHED | {"output_tokens": 1}, {"output_tokens": 10}, Usage(10_100, 10, 10_110, 10_000, 0)),
        # Newer responses repeat all counts at the end; proxies send 0 for unknown counts.
        (CACHED | {"output_tokens": 1}, CACHED | {"output_tokens": 10}, Usage(10_100, 10, 10_110, 10_000, 0)),
        (
            {"input_tokens": 0, "output_tokens": 0},
            CACHED | {"output_tokens": 10},
            Usage(10_100, 10, 10_110, 10_000, 0),
        ),
        (
            CACHED | {"output_tokens": 1},
            {"input_tokens": 0, "output_tokens": 10},
            Usage(10_100, 10, 10_110, 10_000, 0),
        ),
        (WRITTEN | {"output_tokens": 1}, {"output_tokens": 10}, Usage(3_100, 10, 3_110, 0, 1_000, 2_000)),
    ],
)
async def test_anthropics_cache_is_counted_in_replies_and_streams(
    serve: Serve, beginning: dict[str, Any], end: dict[str, Any], counted: Usage
) -> None:
    anthropic = pytest.importorskip("anthropic")
    usage = beginning | {name: count for name, count in end.items() if count or name not in beginning}
    whole: dict[str, Any] = MESSAGE | {"usage": usage}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": MESSAGE | {"content": [], "usage": beginning}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": end},
        {"type": "message_stop"},
    ]
    streamed = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)

    async def script(peer: Peer) -> None:
        while seen := await peer.request():
            if json.loads(seen.body).get("stream"):
                await peer.answer(streamed.encode(), "Content-Type: text/event-stream")
            else:
                await peer.answer(json.dumps(whole).encode(), "Content-Type: application/json")

    replies: list[Reply] = []

    class Keep:
        name = "keep"
        stage = Stage.OBSERVE

        def wrap(self, send: Send) -> Send:
            async def keep(call: Call) -> Reply:
                reply = await send(call)
                replies.append(reply)
                return reply

            return keep

    cost = Cost(prices={"claude-x": {"input": 3, "output": 15, "cached": "0.3"}})
    parameters: dict[str, Any] = {"model": "claude-x", "max_tokens": 9, "messages": HALLO}
    async with (
        serve(script) as server,
        anthropic.AsyncAnthropic(
            api_key="k",
            base_url=server.url.removesuffix("/v1"),
            http_client=for_httpx2.async_client(policies=[Keep(), cost]),
            max_retries=0,
        ) as client,
    ):
        await client.messages.create(**parameters)
        async with client.messages.with_streaming_response.create(**parameters) as response:
            assert (await response.parse()).usage.output_tokens == 10
        async with client.messages.stream(**parameters) as stream:
            await stream.get_final_message()
    assert [reply.usage for reply in replies] == [counted] * 3
    if counted.cached_tokens:
        assert [reply.cost for reply in replies] == [Decimal("0.00345")] * 3
        assert cost.totals.cost == Decimal("0.01035")


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # it calls asyncio itself
async def test_mistral_chats_and_streams(anyio_backend: str) -> None:
    mistral = pytest.importorskip("mistralai.client")
    async with endpoint_process() as endpoint, for_httpx2.async_client(policies=[]) as http_client:
        client = mistral.Mistral(
            api_key="k", server_url=endpoint.base_url.removesuffix("/v1"), async_client=http_client
        )
        whole = await client.chat.complete_async(model=MODEL, messages=HALLO)
        stream = await client.chat.stream_async(model=MODEL, messages=HALLO)
        texts = [event.data.choices[0].delta.content or "" async for event in stream if event.data.choices]
        assert "".join(texts) == whole.choices[0].message.content
