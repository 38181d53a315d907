"""Plain completions: their form, and that ordinary calls read their answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

import headrace
from headrace.testing import Answer, FakeEndpoint
from headrace.testing.server import Behaviour, SimulatedModel
from headrace.testing.server.response_plan import ResponsePlan
from headrace.testing.server.tokenizer import count_tokens


def post(path: str = "/v1/completions", **body: Any) -> ResponsePlan:
    content = json.dumps({"model": "m", **body}).encode()
    return SimulatedModel(Behaviour()).answer("POST", path, {}, content, 0.0)


def test_a_completion_has_the_text_of_a_chat() -> None:
    chat = post("/v1/chat/completions", messages=[{"role": "user", "content": "Hello"}])
    text = json.loads(chat.content)["choices"][0]["message"]["content"]
    body = json.loads(post(prompt="Hello", max_tokens=500).content)
    assert body["object"] == "text_completion"
    assert [(each["text"], each["finish_reason"]) for each in body["choices"]] == [(text, "stop")]
    assert body["usage"]["prompt_tokens"] == count_tokens("Hello")
    assert body["usage"]["total_tokens"] == count_tokens("Hello") + count_tokens(text)


def test_each_prompt_gets_n_choices_of_at_most_16_tokens_if_there_is_no_limit() -> None:
    body = json.loads(post(prompt=["One", "Two"], n=3).content)
    assert [each["index"] for each in body["choices"]] == list(range(6))
    assert "One" in body["choices"][2]["text"]
    assert "Two" in body["choices"][3]["text"]
    assert {each["finish_reason"] for each in body["choices"]} == {"length"}
    assert body["usage"]["completion_tokens"] == 6 * 16


@pytest.mark.parametrize(
    ("body", "param"),
    [({"prompt": []}, "prompt"), ({}, "prompt"), ({"prompt": "x", "stream": True}, "stream")],
)
def test_mistakes_are_named(body: dict[str, Any], param: str) -> None:
    plan = post(**body)
    assert (plan.status, json.loads(plan.content)["error"]["param"]) == (400, param)


@pytest.mark.anyio
async def test_ordinary_calls_read_a_completion() -> None:
    endpoint = FakeEndpoint(Answer(body=post(prompt="Hello").content))
    async with endpoint.client(model="m") as client:
        reply = await client.send(headrace.Request({"prompt": "Hello"}, "/completions"))
    assert "Hello" in reply.text
    assert reply.finish_reason == "length"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 16
