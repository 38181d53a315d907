"""The types of the public API. Checked by mypy, not executed."""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from decimal import Decimal
from typing import Any, Literal, assert_type

import attrs

import headrace
from headrace import (
    Call,
    Chunk,
    Client,
    Embeddings,
    Endpoint,
    Event,
    Headers,
    Observer,
    Outcome,
    ParsedReply,
    Policy,
    RateLimits,
    Reply,
    Request,
    Secret,
    Send,
    Settings,
    Stage,
    Stream,
    StreamResult,
    Timeout,
    ToolCall,
    Tools,
    Transport,
    Usage,
    hookimpl,
)


async def one_call() -> None:
    async with headrace.Client(
        base_url="https://llm.example/v1",
        api_key="sk-…",
        model="deepseek-v3.2",
        max_in_flight=100,
        timeout=60.0,
        policies=None,
        transport=None,
    ) as client:
        assert_type(client, Client)
        reply = await client.chat("Hallo", temperature=0.3, max_tokens=100)
        assert_type(reply, Reply)
        assert_type(reply.text, str)
        assert_type(reply.usage, Usage | None)
        assert_type(reply.cost, Decimal | None)
        assert_type(reply.attempts, int)
        assert_type(reply.elapsed, float)
        assert_type(reply.body, Any)
        assert_type(reply.headers, Headers)
        assert_type(reply.headers["x-request-id"], str)
        if reply.usage:
            assert_type(reply.usage.total_tokens, int | None)
        messages = [{"role": "user", "content": "Hallo"}]
        await client.chat(
            messages, model="m", id="7", timeout=Timeout(5, read=1), deadline=9, tags={"a": "b"}
        )
        assert_type(await client.request("POST", "/embeddings", {"input": "x"}), Reply)
        assert_type(client.policies, tuple[Policy, ...])
        assert_type(client.in_flight, int)


async def other_calls(client: Client) -> None:
    embeddings = await client.embed(["Hallo"], model="e", dimensions=64, batch_size=100, deadline=9)
    assert_type(embeddings, Embeddings)
    assert_type(embeddings.vectors, list[array[float]])
    assert_type(embeddings.vectors[0][0], float)
    assert_type(embeddings.usage, Usage | None)
    assert_type(embeddings.cost, Decimal | None)
    assert_type(embeddings.model, str | None)
    assert_type(embeddings.attempts, int)
    await client.embed(text for text in "ab")
    await client.embed([5])  # type: ignore[list-item]
    assert_type(await client.models(), list[str])
    reply = await client.responses("Hallo", instructions="Kurz.", max_output_tokens=100)
    assert_type(reply, Reply)
    await client.responses([{"role": "user", "content": "Hallo"}], model="m", tags={"a": "b"})
    await client.responses(5)  # type: ignore[arg-type]


async def streams(client: Client) -> None:
    async with client.stream("Hallo", model="m", max_tokens=3, deadline=9) as stream:
        assert_type(stream, Stream)
        async for piece in stream:
            assert_type(piece, Chunk)
            assert_type(piece.text, str)
            assert_type(piece.tool_calls, list[dict[str, Any]])
        assert_type(stream.partial, Reply)
    assert_type(stream.reply, Reply)
    assert_type(stream.reply.finish_reason, str | None)
    assert_type(stream.reply.tool_calls, list[dict[str, Any]])
    assert_type(stream.reply.time_to_first_token, float | None)


async def many_calls(client: Client, prompts: list[str], lines: AsyncIterator[dict[str, Any]]) -> None:
    async with client.map(prompts, max_in_flight=10, ordered=True) as outcomes:
        async for outcome in outcomes:
            assert_type(outcome, Outcome)
            assert_type(outcome.index, int)
            assert_type(outcome.id, str | None)
            assert_type(outcome.ok, bool)
            assert_type(outcome.reply, Reply | None)
            assert_type(outcome.error, headrace.HeadraceError | None)
            assert_type(outcome.unwrap(), Reply)
    async with client.map(lines, buffer=0) as outcomes:
        assert_type(await outcomes.batch(), list[Outcome])
    requests: list[str | Request] = ["Hallo", Request({"input": "x"}, "/embeddings", id="7")]
    async with client.map(requests):
        pass
    async with client.map(requests, stop_on="shared_errors"):
        pass
    client.map(requests, stop_on="errors")  # type: ignore[call-overload]
    client.map(5)  # type: ignore[call-overload]
    async with client.map(requests, answer=Audit, ordered=True) as audits:
        async for audit in audits:
            assert_type(audit.unwrap().answer, Audit)
            assert_type(audit.reply, ParsedReply[Audit] | None)
    await client.map(requests, answer=Literal["a"]).each(lambda outcome: print(outcome.unwrap().answer))
    await client.chat(5)  # type: ignore[call-overload]
    assert_type(await client.chat("Hallo"), Reply)
    assert_type((await client.chat("Hallo", answer=Audit, temperature=0.3)).answer, Audit)
    assert_type((await client.chat("Hallo", answer=Literal["a"])).answer, Any)


async def tool_calls(client: Client) -> None:
    tools = Tools(len, print)
    reply = await client.chat("Hallo", tools=tools)
    assert_type(tools.calls(reply), list[ToolCall])
    for call in tools.calls(reply):
        assert_type(call.name, str)
        assert_type(call.result(call()), dict[str, Any])
    assert_type(reply.message, dict[str, Any])


@attrs.frozen
class Audit:
    """A policy that is also an observer."""

    name: str = "audit"
    stage: Stage = Stage.OBSERVE

    def wrap(self, send: Send) -> Send:
        async def audited(call: Call) -> Reply:
            assert_type(call.request, Request)
            assert_type(call.endpoint, Endpoint)
            assert_type(call.endpoint.api_key, Secret | None)
            assert_type(call.deadline, float | None)
            call.notes["audit"] = call.attempts
            call.notify("audited", model=call.request.model)
            if call.streamed:
                call.add_done_callback(self.ended)
            return await send(call)

        return audited

    def ended(self, ending: StreamResult) -> None:
        assert_type(ending.complete, bool)
        assert_type(ending.error, BaseException | None)

    def notify(self, event: Event) -> None:
        assert_type(event.call, Call)


class Wire:
    """A transport."""

    async def send(self, call: Call) -> Reply:
        return Reply(200, Headers([]), b"{}")

    async def aclose(self) -> None: ...


policy: Policy = Audit()
observer: Observer = Audit()
transport: Transport = Wire()
Client(policies=[Audit()], observers=[Audit()], transport=Wire())
Client(policies=[5])  # type: ignore[list-item]
Client(transport=Audit())  # type: ignore[arg-type]


@attrs.frozen
class AuditSettings:
    path: str = "audit.jsonl"


@attrs.define(kw_only=True)
class Turnstile(RateLimits):
    name = "turnstile"

    patience: float = 60.0


@hookimpl
def headrace_policies(settings: Settings) -> Iterable[Policy]:
    assert_type(settings.section("audit", AuditSettings), AuditSettings)
    turnstile = settings.section("turnstile", Turnstile)
    assert_type(turnstile, Turnstile)
    assert_type(turnstile.burst, float)
    assert_type(turnstile.per_minute("api.openai.com", "gpt-4.1").tokens, float | None)
    Turnstile(requests_per_minute=500, patience=5)
    Turnstile(requests_per_minute="many")  # type: ignore[arg-type]
    return [Audit()]


def sends(send: Send) -> None:
    assert_type(send, Callable[[Call], Awaitable[Reply]])


def errors(error: headrace.CallError) -> None:
    assert_type(error.retryable, bool)
    assert_type(error.request, Request | None)
    assert_type(error.attempts, int)
    assert_type(error.code, str)
    if isinstance(error, headrace.StatusError):
        assert_type(error.status, int)
        assert_type(error.headers, Headers | None)
    if isinstance(error, headrace.CallTimeout):
        assert_type(error.phase, str)
