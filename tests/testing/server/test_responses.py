"""Responses, without any I/O."""

import json
from typing import Any

import pytest

from headrace.testing.server import Behaviour, SimulatedModel
from headrace.testing.server.response_plan import ResponsePlan
from headrace.testing.server.tokenizer import count_tokens


def post(path: str = "/v1/responses", **body: Any) -> ResponsePlan:
    content = json.dumps({"model": "m", **body}).encode()
    return SimulatedModel(Behaviour()).answer("POST", path, {}, content, 0.0)


def text_of(plan: ResponsePlan) -> str:
    [item] = json.loads(plan.content)["output"]
    [part] = item["content"]
    assert (item["type"], item["role"], part["type"]) == ("message", "assistant", "output_text")
    text = part["text"]
    assert isinstance(text, str)
    return text


def test_response_has_the_text_of_a_chat() -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    chat = json.loads(post("/v1/chat/completions", messages=messages).content)
    text = chat["choices"][0]["message"]["content"]
    assert text_of(post(input="Hello", instructions="Be brief.")) == text
    assert text_of(post(input=messages)) == text


def test_input_parts_are_read() -> None:
    parts = [{"type": "input_text", "text": "Hallo Welt"}]
    assert "Hallo Welt" in text_of(post(input=[{"role": "user", "content": parts}]))


def test_usage_has_the_names_of_the_responses_api_and_adds_up() -> None:
    plan = post(input="Hello, world!")
    usage = json.loads(plan.content)["usage"]
    assert usage["input_tokens"] == count_tokens("Hello, world!")
    assert usage["output_tokens"] == count_tokens(text_of(plan))
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def test_token_limit_makes_the_response_incomplete() -> None:
    whole, cut = (
        json.loads(post(input="Hello").content),
        json.loads(post(input="Hello", max_output_tokens=3).content),
    )
    assert (whole["status"], whole["incomplete_details"]) == ("completed", None)
    assert (cut["status"], cut["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert cut["usage"]["output_tokens"] == 3


def test_same_body_gives_the_same_bytes() -> None:
    assert post(input="Hello").content == post(input="Hello").content


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
def test_invalid_body_is_rejected_with_its_field(body: dict[str, Any], param: str) -> None:
    plan = post(**body)
    assert plan.status == 400
    assert json.loads(plan.content)["error"]["param"] == param
