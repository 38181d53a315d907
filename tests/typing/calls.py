"""The types of API methods: keywords and results. Checked by mypy, not executed."""

from __future__ import annotations

from typing import Any, Literal, TypedDict, Unpack, assert_type

import attrs
import msgspec

from headrace import (
    Client,
    Embeddings,
    Outcome,
    ParsedReply,
    Reply,
    Request,
    RequestLike,
    Stream,
    Timeout,
    Tools,
)
from headrace.wire.parameters import ChatOptions


@attrs.frozen
class Verdict:
    fits: bool


class Schema(TypedDict):
    fits: bool


class Struct(msgspec.Struct):
    fits: bool


async def chats(client: Client) -> None:
    reply = await client.chat("Hello", temperature=0.3, max_tokens=100, stop=["\n"], seed=7, n=1)
    assert_type(reply, Reply)
    await client.chat("Hello", temperature=1, logit_bias={"50256": -100}, tools=Tools(len), store=None)
    await client.chat("Hello", response_format={"type": "json_object"}, extra_body={"top_k": 5})
    await client.chat(
        ({"role": "user", "content": word} for word in "ab"),
        model="m",
        id="7",
        timeout=Timeout(5),
        deadline=9,
        tags={"team": "a"},
        headers={"X-Tenant": "blue"},
        priority=1,
    )
    await client.chat("Hello", model=None, id=None, timeout=None, deadline=None, tags=None, headers=None)


async def answers(client: Client) -> None:
    assert_type(await client.chat("Hello", answer=None), Reply)
    assert_type(await client.chat("Hello", answer=Verdict), ParsedReply[Verdict])
    reply = await client.chat("Hello", answer=Verdict, temperature=0.3, headers={"X-A": "1"}, deadline=9)
    assert_type(reply.answer, Verdict)
    assert_type(reply.text, str)
    assert_type((await client.chat("Hello", answer=Schema)).answer, Schema)
    assert_type((await client.chat("Hello", answer=Struct)).answer, Struct)
    assert_type((await client.chat("Hello", answer=list[Verdict])).answer, list[Verdict])
    assert_type(await client.chat("Hello", answer={"type": "object"}), ParsedReply[Any])
    assert_type((await client.chat("Hello", answer=Literal["a", "b"], timeout=3)).answer, Any)


async def mistakes_of_chats(client: Client) -> None:
    await client.chat(5)  # type: ignore[call-overload]
    await client.chat("Hello", temprature=0.3)  # type: ignore[call-overload]
    await client.chat("Hello", temperature="hot")  # type: ignore[call-overload]
    await client.chat("Hello", answer=Verdict, temperature="hot")  # type: ignore[call-overload]
    await client.chat("Hello", answer=Verdict, dedline=5)  # type: ignore[call-overload]
    await client.chat("Hello", headers=["X-A: 1"])  # type: ignore[call-overload]
    await client.chat("Hello", headers={"X-A": 1})  # type: ignore[dict-item]
    await client.chat("Hello", max_output_tokens=5)  # type: ignore[call-overload]


async def parameters_that_are_not_known_before(client: Client, **parameters: Any) -> None:
    await client.chat("Hello", **parameters)
    more: dict[str, Any] = {"temperature": 0.3}
    await client.chat("Hello", max_tokens=5, **more)
    await client.responses("Hello", **more)
    await client.request("GET", "/models", **more)


async def wrapped(client: Client, prompt: str, **options: Unpack[ChatOptions]) -> str:
    reply = await client.chat(prompt, **options)
    return reply.text


async def streams(client: Client, options: ChatOptions) -> None:
    assert_type(client.stream("Hello", temperature=0.3, headers={"X-A": "1"}, timeout=3), Stream)
    async with client.stream("Hello", stream_options={"include_usage": False}, **options) as stream:
        texts = [piece.text async for piece in stream]
        assert_type(texts, list[str])
    client.stream("Hello", temprature=0.3)  # type: ignore[call-arg]
    client.stream("Hello", max_tokens="many")  # type: ignore[arg-type]


async def responses(client: Client) -> None:
    reply = await client.responses("Hello", instructions="Short.", max_output_tokens=9, headers={"X-A": "1"})
    assert_type(reply, Reply)
    await client.responses("Hello", max_tokens=9)  # type: ignore[call-arg]
    await client.responses("Hello", reasoning="deep")  # type: ignore[arg-type]


async def other_calls(client: Client) -> None:
    embeddings = await client.embed(["Hello"], model="e", batch_size=9, headers={"X-A": "1"}, priority=2)
    assert_type(embeddings, Embeddings)
    assert_type(await client.models(headers={"X-A": "1"}, timeout=3), list[str])
    assert_type(await client.request("POST", "/moderations", {"input": "x"}, headers={"X-A": "1"}), Reply)
    await client.embed(["Hello"], temperature=0.3)  # type: ignore[call-arg]
    await client.embed(["Hello"], dimensions="many")  # type: ignore[arg-type]
    await client.request("GET", "/models", model="m")  # type: ignore[call-arg]


async def requests(client: Client, request: Request) -> None:
    assert_type(await client.send(request), Reply)
    await client.send("Hello")  # type: ignore[arg-type]
    await client.send({"messages": []})  # type: ignore[arg-type]


async def many(client: Client, items: list[RequestLike]) -> None:
    items = ["Hello", {"messages": []}, Request({"input": "x"}, "/embeddings")]
    items.append([{"role": "user", "content": "Hello"}])
    async with client.map(items) as outcomes:
        async for outcome in outcomes:
            assert_type(outcome, Outcome[Reply])
    async with client.map(items, answer=Verdict) as verdicts:
        async for verdict in verdicts:
            assert_type(verdict, Outcome[ParsedReply[Verdict]])
            assert_type(verdict.unwrap().answer.fits, bool)
    async with client.map([[{"role": "user", "content": number}] for number in "ab"]) as conversations:
        assert_type(await conversations.batch(), list[Outcome[Reply]])
    wrong: RequestLike = 5  # type: ignore[assignment]
    wrong = [5]  # type: ignore[list-item]
    del wrong
