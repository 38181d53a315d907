"""Responses, without any I/O."""

import json
from typing import Any

import pytest

from headrace.testing.server import Behaviour, SimulatedModel
from headrace.testing.server.response_plan import ResponsePlan
from headrace.testing.server.tokenizer import count_tokens


def ask(path: str = "/v1/responses", **body: Any) -> ResponsePlan:
    content = json.dumps({"model": "m", **body}).encode()
    return SimulatedModel(Behaviour()).answer("POST", path, {}, content, 0.0)


def said(plan: ResponsePlan) -> str:
    [item] = json.loads(plan.content)["output"]
    [part] = item["content"]
    assert (item["type"], item["role"], part["type"]) == ("message", "assistant", "output_text")
    text = part["text"]
    assert isinstance(text, str)
    return text


def test_a_response_says_what_a_chat_says() -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    chat = json.loads(ask("/v1/chat/completions", messages=messages).content)
    text = chat["choices"][0]["message"]["content"]
    assert said(ask(input="Hello", instructions="Be brief.")) == text
    assert said(ask(input=messages)) == text


def test_the_parts_of_an_input_are_read() -> None:
    parts = [{"type": "input_text", "text": "Hallo Welt"}]
    assert "Hallo Welt" in said(ask(input=[{"role": "user", "content": parts}]))


def test_usage_adds_up_under_the_names_of_responses() -> None:
    plan = ask(input="Hello, world!")
    usage = json.loads(plan.content)["usage"]
    assert usage["input_tokens"] == count_tokens("Hello, world!")
    assert usage["output_tokens"] == count_tokens(said(plan))
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def test_a_token_limit_leaves_it_incomplete() -> None:
    whole, cut = (
        json.loads(ask(input="Hello").content),
        json.loads(ask(input="Hello", max_output_tokens=3).content),
    )
    assert (whole["status"], whole["incomplete_details"]) == ("completed", None)
    assert (cut["status"], cut["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert cut["usage"]["output_tokens"] == 3


def test_the_same_body_gives_the_same_bytes() -> None:
    assert ask(input="Hello").content == ask(input="Hello").content


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": "x", "max_output_tokens": 0}, "max_output_tokens"),
        ({"input": "x", "stream": True}, "stream"),
    ],
)
def test_a_wrong_body_is_refused_with_the_field_that_is_wrong(body: dict[str, Any], param: str) -> None:
    plan = ask(**body)
    assert plan.status == 400
    assert json.loads(plan.content)["error"]["param"] == param
