"""Reading of replies: text, usage, errors, and bodies without an answer."""

from __future__ import annotations

import pickle
from typing import Any

import msgspec
import pytest

from headrace import (
    AuthenticationError,
    Headers,
    InvalidReply,
    RateLimited,
    Reply,
    ServerError,
    StatusError,
    Usage,
)
from headrace.testing import Answer, FakeEndpoint
from headrace.wire.reply_bodies import read_reply_body

HTML = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


def reply(body: object, **headers: str) -> Reply:
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    made = Reply(200, Headers(raw), content)
    read_reply_body(made)
    return made


async def ask(answer: Answer) -> Reply:
    async with FakeEndpoint(answer).client(api_key="sk-canary-1234567890") as client:
        return await client.chat("Hallo")


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}, Usage(9, 3, 12)),
        ({"prompt_tokens": 9, "completion_tokens": 3}, Usage(9, 3, 12)),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 3,
                "total_tokens": 12,
                "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
            Usage(9, 3, 12, 4, reasoning_tokens=2, prompt_audio_tokens=0),
        ),
        (
            {
                "input_tokens": 9,
                "output_tokens": 3,
                "total_tokens": 12,
                "input_tokens_details": {"cached_tokens": 4},
            },
            Usage(9, 3, 12, 4),
        ),
        ({"prompt_tokens": 9, "total_tokens": 9}, Usage(9, 0, 9)),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 3,
                "total_tokens": 12,
                "prompt_cache_hit_tokens": 4,
                "prompt_cache_miss_tokens": 5,
            },
            Usage(9, 3, 12, 4),
        ),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 3,
                "prompt_tokens_details": {},
                "prompt_cache_hit_tokens": 4,
            },
            Usage(9, 3, 12, 4),
        ),
        ({"prompt_tokens": None, "completion_tokens": None, "prompt_tokens_details": None}, None),
    ],
    ids=["chat", "no total", "cached", "responses", "embeddings", "deepseek", "deepseek both", "nulls"],
)
def test_usage_is_read_under_all_known_names(usage: dict[str, Any], expected: Usage | None) -> None:
    assert reply({"usage": usage}).usage == expected


@pytest.mark.parametrize("body", [{}, {"usage": None}, {"choices": []}])
def test_usage_is_none_if_the_endpoint_gives_none(body: dict[str, Any]) -> None:
    assert reply(body).usage is None


@pytest.mark.parametrize("body", [[], [1], "text", 5, {"usage": []}, {"usage": {"prompt_tokens": "9"}}])
def test_json_of_another_shape_is_accepted(body: object) -> None:
    assert reply(body).body == body


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        ({"message": {"content": "Hallo"}}, "Hallo"),
        ({"text": "Hallo"}, "Hallo"),
        ({"message": {"content": None}}, ""),
        (
            {
                "message": {
                    "content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "Hallo"}]
                }
            },
            "Hallo",
        ),
    ],
)
def test_the_text_is_that_of_the_first_choice(choice: dict[str, Any], text: str) -> None:
    assert reply({"choices": [choice, {"text": "other"}]}).text == text


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ([], ""),
        ([{"type": "function_call", "name": "f", "arguments": "{}"}], ""),
        (
            [
                {"type": "reasoning", "summary": [], "content": None},
                {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "Hm."}]},
                {"type": "message", "content": [{"type": "output_text", "text": "Guten "}]},
                {"type": "message", "content": [{"type": "output_text", "text": "Tag"}]},
            ],
            "Guten Tag",
        ),
        ([{"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}], ""),
    ],
    ids=["nothing", "a tool", "thoughts and messages", "a refusal"],
)
def test_the_text_of_a_response_is_that_of_all_its_messages(output: list[Any], text: str) -> None:
    assert reply({"object": "response", "output": output}).text == text


@pytest.mark.parametrize(
    "body",
    [
        {"output": None},
        {},
        {"choices": []},
        {"choices": [{}]},
        {"choices": [{"message": None}]},
        [],
        {"choices": [{"text": 5}]},
    ],
)
def test_a_body_without_a_text_raises_and_shows_its_start(body: object) -> None:
    with pytest.raises(InvalidReply, match="contains no answer") as caught:
        _ = reply(body).text
    assert msgspec.json.encode(body).decode()[:20] in str(caught.value)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (rb"Hi \ud83d", "Hi \ufffd"),
        (rb"\ude00 Hi", "\ufffd Hi"),
        (rb"\ud83d\ude00", "\U0001f600"),
        (b"Hi \xff", "Hi \ufffd"),
        (b"a\tb\nc", "a\tb\nc"),
    ],
)
def test_json_that_is_not_strict_is_read(text: bytes, read: str) -> None:
    content = (
        b'{"choices":[{"message":{"content":"%b"},"logprobs":[NaN,-Infinity]}],"usage":{"total_tokens":5}}'
    )
    made = reply(content % text)
    assert made.text == read
    assert made.usage == Usage(total_tokens=5)
    read.encode()


def test_a_byte_order_mark_is_ignored() -> None:
    assert reply(b'\xef\xbb\xbf{"choices":[{"message":{"content":"Hi"}}]}').text == "Hi"


@pytest.mark.anyio
async def test_an_error_that_is_not_utf_8_is_shown() -> None:
    with pytest.raises(ServerError, match="status 500"):
        await ask(Answer(status=500, body=b'{"error":{"message":"\xff"}}'))


def test_the_body_is_decoded_once() -> None:
    made = reply({"a": 1})
    assert made.body is made.body


def test_the_request_id_is_that_of_the_endpoint() -> None:
    assert reply({}, x_request_id="req-7").request_id == "req-7"
    assert reply({}).request_id is None


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (Answer(body={"error": {"message": "overloaded", "code": 503}}), "overloaded"),
        (Answer(body={"error": "overloaded", "usage": []}), "overloaded"),
        (Answer(body=HTML, headers={"content-type": "text/html"}), "502 Bad Gateway"),
        (Answer(body=HTML), "502 Bad Gateway"),
        (Answer(body=b""), "an empty body"),
        (Answer(body=b'{"choices": [{"mess'), "choices"),
        (Answer(body=b"\xff\xfe{}", headers={"content-type": "application/json"}), "not JSON"),
        (Answer(body=b"x" * 100_000), "x" * 200 + "'…"),
        (Answer(body=b'{"choices":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "[[["),
        (Answer(body=b"[" * 100_000), "[[["),
    ],
    ids=[
        "error object",
        "error text",
        "html",
        "html as json",
        "empty",
        "cut",
        "no utf-8",
        "long",
        "deep",
        "cut deep",
    ],
)
async def test_a_success_without_an_answer_raises_and_shows_its_start(answer: Answer, shown: str) -> None:
    with pytest.raises(InvalidReply) as caught:
        await ask(answer)
    error = caught.value
    assert shown in str(error)
    assert len(str(error)) < 400
    assert error.retryable
    assert error.attempts == 1
    assert error.request is not None


@pytest.mark.anyio
async def test_an_empty_error_object_is_not_an_error() -> None:
    choices = [{"message": {"content": "Hi"}}]
    nothing: list[Any] = [None, "", {}, [], False]
    for error in nothing:
        assert (await ask(Answer(body={"error": error, "choices": choices}))).text == "Hi"


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["audio/mpeg", "application/octet-stream", "text/event-stream", "image/png"])
async def test_a_reply_of_another_content_type_is_accepted(kind: str) -> None:
    async with FakeEndpoint(Answer(body=b"\x00\x01\xff", headers={"content-type": kind})).client() as client:
        made = await client.request("POST", "/audio/speech", {"input": "Hallo"})
    assert made.content == b"\x00\x01\xff"
    assert made.usage is None
    with pytest.raises(InvalidReply, match="not JSON"):
        _ = made.body


@pytest.mark.anyio
async def test_no_content_is_accepted() -> None:
    async with FakeEndpoint(Answer(status=204, body=b"")).client() as client:
        assert (await client.request("DELETE", "/files/7")).status == 204


ERROR = {"error": {"message": "the reason", "type": "some_type", "param": None, "code": "some_code"}}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (301, StatusError, False),
        (400, StatusError, False),
        (401, AuthenticationError, False),
        (403, StatusError, False),
        (404, StatusError, False),
        (408, StatusError, True),
        (409, StatusError, True),
        (413, StatusError, False),
        (422, StatusError, False),
        (429, RateLimited, True),
        (500, ServerError, True),
        (503, ServerError, True),
        (529, ServerError, True),
    ],
)
async def test_each_status_raises_its_error(status: int, kind: type[StatusError], retryable: bool) -> None:
    with pytest.raises(StatusError) as caught:
        await ask(Answer(status=status, body=ERROR, headers={"retry-after": "7"}))
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.retryable, error.error_code) == (status, retryable, "some_code")
    assert error.headers is not None
    assert error.headers["Retry-After"] == "7"
    assert msgspec.json.decode(error.body) == ERROR
    assert f"POST /chat/completions: status {status}" in str(error)
    assert str(error).startswith("the reason (")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": "no such model"}, "no such model"),
        ({"message": "no such model"}, "no such model"),
        (HTML, "502 Bad Gateway"),
        (b"", "no body"),
        ([1], "[1]"),
        ({"error": {"message": 5}}, "5"),
    ],
)
async def test_errors_of_any_shape_are_shown(body: Any, message: str) -> None:
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    with pytest.raises(StatusError) as caught:
        await ask(Answer(status=400, body=content))
    assert message in str(caught.value)


@pytest.mark.anyio
async def test_control_characters_in_errors_are_escaped() -> None:
    body = {"error": {"message": "a\x1b]0;owned\x07\x1b[2Jb\x9b31m \u202egnp.exe"}}
    async with FakeEndpoint(Answer(status=400, body=body)).client() as client:
        with pytest.raises(StatusError) as caught:
            await client.chat("?")
    assert str(caught.value).isprintable()
    assert "a\\x1b]0;owned\\x07" in str(caught.value)


@pytest.mark.anyio
async def test_long_error_messages_are_cut() -> None:
    with pytest.raises(StatusError) as caught:
        await ask(Answer(status=400, body={"error": {"message": "x" * 100_000}}))
    assert len(str(caught.value)) < 1200


@pytest.mark.anyio
@pytest.mark.parametrize("where", ["code", "type"])
async def test_no_credit_left_is_not_retryable(where: str) -> None:
    with pytest.raises(RateLimited) as caught:
        await ask(Answer(status=429, body={"error": {"message": "pay", where: "insufficient_quota"}}))
    assert not caught.value.retryable


@pytest.mark.anyio
async def test_a_redirect_raises_and_shows_its_target() -> None:
    with pytest.raises(StatusError, match=r"redirected to 'https://other\.example/', not followed"):
        await ask(Answer(status=307, body=b"", headers={"location": "https://other.example/"}))


def test_headers_ignore_case_and_join() -> None:
    headers = Headers([(b"X-A", b"1"), (b"x-a", b"2"), (b"B", b"3")])
    assert headers["x-A"] == "1, 2"
    assert dict(headers) == {"x-a": "1, 2", "b": "3"}
    assert len(headers) == 2
    assert "X-a" in headers
    assert headers.get("c") is None
    assert headers.get("größe €") is None
    assert repr(headers) == "Headers({'x-a': '1, 2', 'b': '3'})"


def test_replies_and_errors_can_be_pickled() -> None:
    made = reply({"usage": {"prompt_tokens": 1}}, content_type="application/json")
    again = pickle.loads(pickle.dumps(made))
    assert (again.content, again.usage, dict(again.headers)) == (made.content, made.usage, dict(made.headers))
    error = RateLimited("slow down", 429, made.headers, b"{}", "code")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.status, again.error_code, again.body) == ("slow down", 429, "code", b"{}")
