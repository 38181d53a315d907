"""A success status without an answer is an error, for each path that headrace knows."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.wire.test_odd_streams import begin

from headrace import AnswerError, CallError, InvalidReply, StatusError
from headrace.testing import Answer, FakeEndpoint
from headrace_retry import Retry

pytestmark = pytest.mark.anyio

NOT_ANSWERS: dict[str, Any] = {
    "an empty object": {},
    "no choice": {"choices": []},
    "null for choices": {"choices": None},
    "a choice without a message": {"choices": [{"index": 0, "finish_reason": "stop"}]},
    "null for the message": {"choices": [{"message": None, "finish_reason": "stop"}]},
    "a text for the message": {"choices": [{"message": "Hello"}]},
    "a detail": {"detail": "Not authenticated"},
    "a list": [1],
    "a text in JSON": "busy",
    "a number": 0,
    "a boolean": True,
    "null": None,
    "plain text": b"upstream timed out",
    "XML": b"<?xml version='1.0'?><Error><Code>SlowDown</Code></Error>",
    "HTML": b"<html><title>502 Bad Gateway</title></html>",
    "nothing": b"",
    "blanks": b" \n",
    "a stream that is an error": b'data: {"error":{"message":"overloaded"}}\n\n',
    "a stream that says only that it is done": b"data: [DONE]\n\n",
    "an error": {"error": {"message": "overloaded", "code": 503}},
    "an error of its own form": {"object": "error", "message": "overloaded", "code": 503},
    "a list of errors": [{"error": {"message": "overloaded", "code": 503}}],
    "a choice that failed": {
        "choices": [{"message": {"role": "assistant", "content": ""}, "finish_reason": "error"}]
    },
    "a choice with an error": {
        "choices": [{"message": {"content": "Hal"}, "error": {"code": 502, "message": "lost"}}]
    },
}


def encoded(body: Any) -> bytes:
    return body if isinstance(body, bytes) else msgspec.json.encode(body)


@pytest.mark.parametrize("body", NOT_ANSWERS.values(), ids=NOT_ANSWERS)
@pytest.mark.parametrize("kind", ["application/json", "text/plain", "Text/Event-Stream", None])
async def test_a_chat_without_an_answer_is_a_retryable_error(body: Any, kind: str | None) -> None:
    headers = {} if kind is None else {"content-type": kind}
    endpoint = FakeEndpoint(otherwise=Answer(body=encoded(body), headers=headers))
    async with endpoint.client([Retry(attempts=2, base=0.001)]) as client:
        with pytest.raises(InvalidReply) as caught:
            await client.chat("Hallo")
    assert len(endpoint.attempts) == 2
    assert (caught.value.attempts, caught.value.retryable) == (2, True)
    assert caught.value.request is not None


@pytest.mark.parametrize("body", NOT_ANSWERS.values(), ids=NOT_ANSWERS)
async def test_a_stream_without_an_answer_is_an_error(body: Any) -> None:
    async with FakeEndpoint(Answer(body=encoded(body))).client() as client:
        with pytest.raises(CallError) as caught:
            await begin(client)
    assert caught.value.retryable


OF_OTHER_PATHS: dict[str, list[Any]] = {
    "/responses": [
        *[{}, {"output": None}, {"output": []}, [], "busy", b"", {"detail": "x"}],
        {"output": [], "status": "failed", "error": {"code": "server_error", "message": "lost"}},
    ],
    "/embeddings": [{}, {"data": None}, {"data": []}, [], 0, b"", {"choices": []}],
    "/completions": [{}, {"choices": [{}]}, {"choices": [{"text": None}]}],
    "/chat/completions?trace=1": [{}],
}


@pytest.mark.parametrize(
    ("path", "body"), [(path, body) for path, bodies in OF_OTHER_PATHS.items() for body in bodies]
)
async def test_each_path_has_its_own_form_of_answer(path: str, body: Any) -> None:
    async with FakeEndpoint(Answer(body=encoded(body))).client() as client:
        with pytest.raises(InvalidReply):
            await client.request("POST", path, {"input": "Hallo"})


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/moderations", {"results": []}),
        ("GET", "/responses/resp_1", {"status": "queued"}),
        ("POST", "/responses", {"status": "queued", "output": []}),
        ("POST", "/responses", {"status": "incomplete", "output": [], "error": None}),
        ("POST", "/embeddings", [{"embedding": [1.0]}]),
        ("POST", "/completions", {"choices": [{"text": ""}]}),
        ("POST", "/chat/completions", {"choices": [{"message": {"content": ""}, "finish_reason": "stop"}]}),
        ("POST", "/chat/completions", {"choices": [{"message": {}, "finish_reason": "length"}]}),
        ("POST", "/chat/completions", {"choices": [None, {"message": {"content": "Hi"}}]}),
        ("POST", "/chat/completions", {"choices": [{"message": {"content": "Hi"}}], "error": {}}),
        ("POST", "/chat/completions", {"choices": [{"message": {"content": "Hi"}}], "detail": "cached"}),
    ],
)
async def test_unusual_answers_are_accepted(method: str, path: str, body: Any) -> None:
    async with FakeEndpoint(Answer(body=encoded(body))).client() as client:
        assert (await client.request(method, path, {"input": "Hallo"})).body == body


@pytest.mark.parametrize(
    ("error", "retryable", "code"),
    [
        ({"message": "the reason", "code": 503}, True, "503"),
        ({"message": "the reason", "code": 429}, True, "429"),
        ({"message": "the reason", "code": "rate_limit_exceeded"}, True, "rate_limit_exceeded"),
        ({"message": "the reason", "code": 400}, False, "400"),
        ({"message": "the reason", "code": 401, "type": "auth"}, False, "auth"),
        ({"message": "the reason", "code": "402"}, False, "402"),
        (
            {"message": "the reason", "type": "invalid_request_error", "code": None},
            False,
            "invalid_request_error",
        ),
        ({"message": "the reason", "code": 429, "type": "insufficient_quota"}, False, "insufficient_quota"),
        ("the reason", True, None),
    ],
)
@pytest.mark.parametrize("where", ["top", "choice", "stream", "choice of a stream"])
async def test_the_code_decides_whether_an_error_with_status_200_is_retryable(
    error: Any, retryable: bool, code: str | None, where: str
) -> None:
    holder: dict[str, Any] = {"error": error}
    if "choice" in where:
        holder = {"choices": [{"index": 0, "delta": {}, **holder}]}
    content = encoded(holder)
    async with FakeEndpoint(
        Answer(body=b"data: %b\n\n" % content if "stream" in where else content)
    ).client() as client:
        with pytest.raises(InvalidReply, match=r"\Athe reason \(") as caught:
            await (begin(client) if "stream" in where else client.chat("?"))
    assert (caught.value.retryable, caught.value.error_code) == (retryable, code)


async def test_the_partial_answer_of_a_failed_choice_is_kept() -> None:
    choice = {"message": {"content": "Hal"}, "finish_reason": "error", "error": {"message": "lost"}}
    async with FakeEndpoint(
        Answer(body={"choices": [choice], "usage": {"total_tokens": 9}})
    ).client() as client:
        with pytest.raises(InvalidReply, match="lost") as caught:
            await client.chat("?")
    assert caught.value.partial is not None
    assert caught.value.partial.text == "Hal"
    assert caught.value.partial.usage is not None


@pytest.mark.parametrize(
    ("message", "finish_reason", "expected"),
    [
        ({"content": ""}, "content_filter", "content filter"),
        ({}, "content_filter", "content filter"),
        ({"content": None}, "sensitive", "content filter"),
        ({"content": '{"answer": "Gar'}, "length", "raise max_tokens="),
        ({"content": '{"answer": "Gar'}, "max_tokens", "raise max_tokens="),
        ({"content": "Gar"}, "insufficient_system_resource", "ran out of resources"),
        ({"content": None, "refusal": "I cannot."}, "stop", r"\AI cannot. \(the model refuses\)"),
    ],
)
async def test_an_incomplete_answer_names_its_finish_reason(
    message: dict[str, Any], finish_reason: str, expected: str
) -> None:
    choice = {"message": {"role": "assistant", **message}, "finish_reason": finish_reason}
    endpoint = FakeEndpoint(otherwise=Answer(body={"choices": [choice]}))
    async with endpoint.client() as client:
        with pytest.raises(AnswerError, match=expected) as caught:
            await client.chat("?", answer=bool)
        assert (await client.chat("?")).text == (message.get("content") or "")
    expected = "refusal" if "refusal" in message else finish_reason
    assert caught.value.finish_reason == expected
    assert caught.value.partial is not None


async def test_a_valid_answer_is_accepted_with_any_finish_reason() -> None:
    choice = {"message": {"content": '{"answer": true}'}, "finish_reason": "length"}
    async with FakeEndpoint(Answer(body={"choices": [choice]})).client() as client:
        assert (await client.chat("?", answer=bool)).answer is True


async def test_an_error_begins_with_the_endpoints_message() -> None:
    body = {"error": {"message": "Insufficient Balance", "type": "unknown_error", "code": "invalid_request"}}
    async with FakeEndpoint(Answer(status=402, body=body)).client() as client:
        with pytest.raises(
            StatusError, match=r"\AInsufficient Balance \(POST /chat/completions: status 402"
        ) as caught:
            await client.chat("?")
    assert (caught.value.limit, caught.value.retryable) == ("quota", False)
