"""Chat completions, whole and streamed, without any I/O."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.testing.server import Behaviour, SimulatedModel
from headrace.testing.server.response_plan import ResponsePlan
from headrace.testing.server.tokenizer import count_tokens

messages = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": st.text()}),
    min_size=1,
    max_size=4,
)
bodies = st.fixed_dictionaries(
    {"model": st.text(min_size=1), "messages": messages},
    optional={
        "n": st.integers(min_value=1, max_value=3),
        "max_tokens": st.integers(min_value=1, max_value=60),
        "stop": st.sampled_from([".", " ", ["the", "model"]]),
    },
)


def post(body: Any, *, seed: int = 0) -> ResponsePlan:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return SimulatedModel(Behaviour(seed=seed)).answer("POST", "/v1/chat/completions", {}, content, 0.0)


def user(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


def streamed(plan: ResponsePlan) -> list[dict[str, Any]]:
    *events, done = plan.events
    assert done == b"data: [DONE]\n\n"
    assert all(event.startswith(b"data: ") and event.endswith(b"\n\n") for event in events)
    return [json.loads(event.removeprefix(b"data: ")) for event in events]


@given(bodies)
def test_usage_adds_up(body: dict[str, Any]) -> None:
    reply = json.loads(post(body).content)
    usage = reply["usage"]
    texts = [choice["message"]["content"] for choice in reply["choices"]]
    assert len(texts) == body.get("n", 1)
    assert usage["prompt_tokens"] == sum(count_tokens(message["content"]) for message in body["messages"])
    assert usage["completion_tokens"] == sum(map(count_tokens, texts))
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0


@given(bodies, st.integers())
def test_same_seed_and_body_give_the_same_bytes(body: dict[str, Any], seed: int) -> None:
    assert post(body, seed=seed).content == post(body, seed=seed).content


def test_answer_does_not_depend_on_earlier_requests() -> None:
    simulation = SimulatedModel(Behaviour())
    content = [json.dumps(user(f"question {number}")).encode() for number in range(20)]

    def answers(order: list[bytes]) -> dict[bytes, bytes]:
        return {body: simulation.answer("POST", "/chat/completions", {}, body, 0.0).content for body in order}

    assert answers(content) == answers(content[::-1])


def test_another_seed_gives_another_answer() -> None:
    body = user("Tell me about rivers, please.")
    assert len({post(body, seed=seed).content for seed in range(10)}) == 10


@given(bodies)
def test_streamed_answer_equals_the_complete_answer(body: dict[str, Any]) -> None:
    whole = json.loads(post(body).content)
    chunks = streamed(post(body | {"stream": True, "stream_options": {"include_usage": True}}))
    *deltas, last = chunks
    texts = [""] * len(whole["choices"])
    reasons: list[str | None] = [None] * len(texts)
    for chunk in deltas:
        assert chunk["object"] == "chat.completion.chunk"
        assert chunk["usage"] is None
        [choice] = chunk["choices"]
        texts[choice["index"]] += choice["delta"].get("content", "")
        reasons[choice["index"]] = choice["finish_reason"]
    assert texts == [choice["message"]["content"] for choice in whole["choices"]]
    assert reasons == [choice["finish_reason"] for choice in whole["choices"]]
    assert last["choices"] == []
    assert last["usage"] == whole["usage"]


def test_stream_begins_with_the_role_and_ends_with_the_finish_reason() -> None:
    chunks = streamed(post(user("Hello", stream=True)))
    first, *_, last = (chunk["choices"][0] for chunk in chunks)
    assert first["delta"] == {"role": "assistant", "content": ""}
    assert (last["delta"], last["finish_reason"]) == ({}, "stop")
    assert all("usage" not in chunk for chunk in chunks)
    assert len({chunk["id"] for chunk in chunks}) == 1


def test_stream_takes_as_long_as_the_complete_answer() -> None:
    content = json.dumps(user("Hello", stream=True)).encode()
    plan = SimulatedModel(Behaviour(latency=2.0)).answer("POST", "/chat/completions", {}, content, 0.0)
    assert plan.delay + plan.gap * (len(plan.events) - 1) == pytest.approx(2.0)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_token_limit_cuts_the_answer(name: str) -> None:
    reply = json.loads(post(user("Tell me something long", **{name: 5})).content)
    assert reply["choices"][0]["finish_reason"] == "length"
    assert reply["usage"]["completion_tokens"] == 5


def test_answer_ends_before_a_stop_sequence() -> None:
    whole = json.loads(post(user("Tell me something")).content)["choices"][0]["message"]["content"]
    reply = json.loads(post(user("Tell me something", stop=["§", "model"])).content)["choices"][0]
    assert reply["finish_reason"] == "stop"
    assert reply["message"]["content"] == whole[: whole.index("model")]


def test_only_text_parts_of_a_message_are_quoted() -> None:
    parts = [{"type": "text", "text": "Hallo Welt"}, {"type": "file", "file": {"file_id": "file-7"}}]
    reply = json.loads(post({"model": "m", "messages": [{"role": "user", "content": parts}]}).content)
    assert "Hallo Welt" in reply["choices"][0]["message"]["content"]
    assert reply["usage"]["prompt_tokens"] == count_tokens("Hallo Welt")


def test_unused_fields_are_accepted() -> None:
    assert post(user("Hello", user="u", tools=[], seed=3, logit_bias={"5": 1})).status == 200


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": [{"role": "user", "content": "x"}]}, "model"),
        ({"model": "m"}, "messages"),
        ({"model": "m", "messages": []}, "messages"),
        ({"model": "m", "messages": "hello"}, "messages"),
        ({"model": "m", "messages": [{"content": "x"}]}, "messages[0].role"),
        ({"model": "m", "messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        (user("x", n=0), "n"),
        (user("x", temperature="hot"), "temperature"),
        (user("x", max_tokens=1.5), "max_tokens"),
        (user("x", stream="yes"), "stream"),
        ([], None),
    ],
)
def test_invalid_body_is_rejected_with_its_field(body: Any, param: str | None) -> None:
    plan = post(body)
    error = json.loads(plan.content)["error"]
    assert plan.status == 400
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"]) == ("invalid_request_error", param)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"model":"\xff"}', b'{"x":' + b"[" * 100_000])
def test_body_that_is_not_json_is_rejected(content: bytes) -> None:
    plan = post(content)
    assert plan.status == 400
    assert json.loads(plan.content)["error"]["code"] == "invalid_json"


@given(st.binary())
def test_no_body_raises_an_exception(content: bytes) -> None:
    assert post(content).status == 400
