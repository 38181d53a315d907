"""Prompts and answers are exported only if ``content`` is on, and keys never."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

import headrace
from headrace.testing import Answer, FakeEndpoint
from headrace_otel.conventions import RELEASED
from headrace_otel.messages import input_attributes, output_attributes
from telemetry import Telemetry, attributes

KEY = "sk-canary-0123456789abcdef"
PROMPT = "the-prompt-canary"
ANSWER = "the-answer-canary"


@attrs.define
class Person:
    name: str


class LeakingPolicy:
    """A third-party policy whose events contain the prompt and the key."""

    name = "leaking"
    stage = headrace.Stage.ANSWER

    def wrap(self, send: headrace.Send) -> headrace.Send:
        async def leak(call: headrace.Call) -> headrace.Reply:
            call.notify("leaked", text=f"{PROMPT} {KEY}", body=call.request.body, number=7)
            return await send(call)

        return leak


async def export_failing_calls(telemetry: Telemetry, content: bool) -> str:
    """Return all exports of calls with keys, prompts and answers in every possible place."""
    Cost = pytest.importorskip("headrace_cost").Cost
    Repair = pytest.importorskip("headrace_repair").Repair
    echo = {"error": {"message": f"bad {KEY} {PROMPT}", "code": f"{KEY}"}}
    complete = Answer(f"{ANSWER} {KEY}")
    named = {"id": KEY, "model": KEY, "choices": [{"message": {"content": ANSWER}, "finish_reason": KEY}]}
    endpoint = FakeEndpoint(
        complete,
        Answer(body=named),
        Answer(status=401, body=echo),
        Answer(status=400, body=echo),
        Answer(body=echo),
        Answer(body=f"{ANSWER} {KEY}".encode()),
        headrace.ConnectError(f"refused {KEY}"),
        ValueError(f"{PROMPT} {ANSWER}"),
        *[complete] * 4,
        Answer(body=b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n' % ANSWER.encode()),
        Answer(body=b'data: {"error":{"message":"%b"}}\n\n' % f"{PROMPT} {KEY}".encode()),
    )
    policies: list[headrace.Policy] = [telemetry.policy(content=content), LeakingPolicy(), Repair(), Cost()]
    async with endpoint.client(policies, api_key=KEY) as client:

        async def stream() -> None:
            async with client.stream(f"{PROMPT} {KEY}") as chunks:
                [_ async for _ in chunks]

        for _ in range(8):
            try:
                await client.chat(f"{PROMPT} {KEY}", id=f"7-{KEY}", tags={"k": KEY}, user=KEY)
            except headrace.CallError:
                continue
        with pytest.raises(headrace.AnswerError):
            await client.chat(PROMPT, answer=Person)
        await client.chat(PROMPT, model=f"m-{KEY}", stop=KEY)
        await stream()
        for _ in range(2):
            with pytest.raises(headrace.CallError):
                await stream()
    assert endpoint.in_flight == 0
    assert len(telemetry.spans) == 13
    return telemetry.everything()


@pytest.mark.anyio
async def test_without_content_no_prompt_answer_or_key_is_exported(telemetry: Telemetry) -> None:
    exported = await export_failing_calls(telemetry, content=False)
    for canary in (PROMPT, ANSWER, KEY, KEY[:12]):
        assert canary not in exported


@pytest.mark.anyio
async def test_with_content_no_key_is_exported(telemetry: Telemetry) -> None:
    exported = await export_failing_calls(telemetry, content=True)
    assert PROMPT in exported
    assert ANSWER in exported
    assert KEY[:12] not in exported


@pytest.mark.anyio
async def test_with_content_prompt_and_answer_are_exported(telemetry: Telemetry) -> None:
    async with FakeEndpoint("Guten Tag").client([telemetry.policy(content=True)]) as client:
        await client.chat([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hallo"}])
    exported = attributes(telemetry.span)
    assert json.loads(exported["gen_ai.input.messages"]) == [
        {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
        {"role": "user", "parts": [{"type": "text", "content": "Hallo"}]},
    ]
    assert json.loads(exported["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "Guten Tag"}], "finish_reason": "stop"}
    ]


def decode_attributes(encoded: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix("gen_ai."): json.loads(text) for name, text in encoded.items()}


def test_tools_and_parts_of_a_chat_are_converted() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    body = {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Weather here?"}, image]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "rainy"},
        ]
    }
    tool_call = {"type": "tool_call", "id": "c1", "name": "weather", "arguments": {"city": "Paris"}}
    assert decode_attributes(input_attributes(body, RELEASED)) == {
        "input.messages": [
            {"role": "user", "parts": [{"type": "text", "content": "Weather here?"}, {"type": "image_url"}]},
            {"role": "assistant", "parts": [tool_call]},
            {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "rainy"}]},
        ]
    }
    broken = {"id": "c2", "function": {"name": "f", "arguments": '{"a'}}
    message = {"role": "assistant", "reasoning_content": "Hm.", "tool_calls": [call, broken]}
    answer = {"choices": [{"message": message, "finish_reason": "tool_calls"}]}
    invalid_call = {"type": "tool_call", "id": "c2", "name": "f", "arguments": '{"a'}
    assert decode_attributes(output_attributes(answer, RELEASED)) == {
        "output.messages": [
            {
                "role": "assistant",
                "parts": [{"type": "reasoning", "content": "Hm."}, tool_call, invalid_call],
                "finish_reason": "tool_call",
            }
        ]
    }


def test_a_response_is_converted() -> None:
    body: dict[str, Any] = {"instructions": "Be brief.", "input": "Hallo"}
    assert decode_attributes(input_attributes(body, RELEASED)) == {
        "input.messages": [{"role": "user", "parts": [{"type": "text", "content": "Hallo"}]}],
        "system_instructions": [{"type": "text", "content": "Be brief."}],
    }
    function_call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    function_output = {"type": "function_call_output", "call_id": "c1", "output": "42"}
    call = {"type": "tool_call", "id": "c1", "name": "f", "arguments": {}}
    assert decode_attributes(input_attributes({"input": [function_call, function_output]}, RELEASED)) == {
        "input.messages": [
            {"role": "assistant", "parts": [call]},
            {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "42"}]},
        ]
    }
    message = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]}
    assert decode_attributes(
        output_attributes({"status": "completed", "output": [message, function_call]}, RELEASED)
    ) == {
        "output.messages": [
            {"role": "assistant", "parts": [{"type": "text", "content": "Hi"}, call], "finish_reason": "stop"}
        ]
    }


@pytest.mark.parametrize("body", [None, {}, {"messages": 5}, {"messages": ["a"]}, {"input": [1]}])
def test_a_body_without_a_conversation_has_no_attributes(body: Any) -> None:
    assert input_attributes(body, RELEASED) == {}
    assert output_attributes(body, RELEASED) == {}
